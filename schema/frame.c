/* frame.c - encode and decode, from frames.def. */
#include "schema/frame.h"
#include "schema/dtype.h"

#include <string.h>

/* A cursor that never passes its end: what does not fit sets failed. */
struct cursor {
    uint8_t *at;
    const uint8_t *end;
    int failed;
};

static uint8_t *take(struct cursor *c, size_t n)
{
    uint8_t *at = c->at;

    if (c->failed || (size_t)(c->end - at) < n) {
        c->failed = 1;
        return NULL;
    }
    c->at += n;
    return at;
}

/* Both programs run on little-endian machines of one kind (the hash includes this layout). */
static void put(struct cursor *c, const void *value, size_t n)
{
    uint8_t *at = take(c, n);

    if (at && n)
        memcpy(at, value, n);
}

static void get(struct cursor *c, void *value, size_t n)
{
    const uint8_t *at = take(c, n);

    if (at && n)
        memcpy(value, at, n);
}

static void put_string(struct cursor *c, const char *text, uint32_t cap)
{
    uint32_t len = (uint32_t)strnlen(text, cap);

    if (len == cap)
        c->failed = 1;
    put(c, &len, sizeof len);
    put(c, text, len);
}

static void get_string(struct cursor *c, char *text, uint32_t cap)
{
    uint32_t len = 0;

    get(c, &len, sizeof len);
    if (c->failed || len >= cap) {
        c->failed = 1;
        return;
    }
    get(c, text, len);
    text[len] = '\0';
    if (memchr(text, '\0', len))
        c->failed = 1;
}

static void put_list(struct cursor *c, uint32_t n, uint32_t cap, const void *items, size_t size)
{
    if (n > cap)
        c->failed = 1;
    put(c, &n, sizeof n);
    put(c, items, c->failed ? 0 : n * size);
}

static void get_list(struct cursor *c, uint32_t *n, uint32_t cap, void *items, size_t size)
{
    *n = 0;
    get(c, n, sizeof *n);
    if (c->failed || *n > cap) {
        c->failed = 1;
        *n = 0;
        return;
    }
    get(c, items, *n * size);
}

#define U32(f) put(c, &x->f, sizeof x->f);
#define U64(f) put(c, &x->f, sizeof x->f);
#define I64(f) put(c, &x->f, sizeof x->f);
#define STR(f, cap) put_string(c, x->f, cap);
#define SHAPE(f) put_list(c, x->f.ndim, LIMIT_NDIM, x->f.dim, sizeof x->f.dim[0]);
#define BYTES(f, cap) put_list(c, x->n_##f, cap, x->f, 1);
#define LIST32(f, cap) put_list(c, x->n_##f, cap, x->f, sizeof x->f[0]);
#define LIST64(f, cap) put_list(c, x->n_##f, cap, x->f, sizeof x->f[0]);
#define FRAME(name, fields)                                                \
    static void put_##name(struct cursor *c, const struct frame_##name *x) \
    {                                                                      \
        fields                                                             \
    }
#include "schema/frames.def"
#undef FRAME
#undef U32
#undef U64
#undef I64
#undef STR
#undef SHAPE
#undef BYTES
#undef LIST32
#undef LIST64

#define U32(f) get(c, &x->f, sizeof x->f);
#define U64(f) get(c, &x->f, sizeof x->f);
#define I64(f) get(c, &x->f, sizeof x->f);
#define STR(f, cap) get_string(c, x->f, cap);
#define SHAPE(f) get_list(c, &x->f.ndim, LIMIT_NDIM, x->f.dim, sizeof x->f.dim[0]);
#define BYTES(f, cap) get_list(c, &x->n_##f, cap, x->f, 1);
#define LIST32(f, cap) get_list(c, &x->n_##f, cap, x->f, sizeof x->f[0]);
#define LIST64(f, cap) get_list(c, &x->n_##f, cap, x->f, sizeof x->f[0]);
#define FRAME(name, fields)                                          \
    static void get_##name(struct cursor *c, struct frame_##name *x) \
    {                                                                \
        fields                                                       \
    }
#include "schema/frames.def"
#undef FRAME
#undef U32
#undef U64
#undef I64
#undef STR
#undef SHAPE
#undef BYTES
#undef LIST32
#undef LIST64

const char *frame_type_name(enum frame_type t)
{
    static const char *const names[FRAME_TYPE_COUNT] = {
        "none",
#define FRAME(name, fields) #name,
#include "schema/frames.def"
#undef FRAME
    };

    return t < FRAME_TYPE_COUNT ? names[t] : "unknown";
}

size_t frame_encode(const struct frame *f, uint8_t *buf, size_t cap)
{
    struct cursor cursor, *c = &cursor;
    uint32_t payload, type = f->type;

    if (cap < FRAME_HEADER_BYTES)
        return 0;
    cursor = (struct cursor){.at = buf + FRAME_HEADER_BYTES, .end = buf + cap};
    switch (f->type) {
#define FRAME(name, fields)      \
    case FRAME_##name:           \
        put_##name(c, &f->name); \
        break;
#include "schema/frames.def"
#undef FRAME
    default:
        return 0;
    }
    if (c->failed)
        return 0;
    payload = (uint32_t)(c->at - buf - FRAME_HEADER_BYTES);
    memcpy(buf, &payload, sizeof payload);
    memcpy(buf + 4, &type, sizeof type);
    return payload + FRAME_HEADER_BYTES;
}

long frame_decode(const uint8_t *buf, size_t len, struct frame *out, struct err *e)
{
    uint8_t *payload = (uint8_t *)(uintptr_t)buf + FRAME_HEADER_BYTES; /* only read */
    struct cursor cursor, *c = &cursor;
    uint32_t size, type;

    if (len < FRAME_HEADER_BYTES)
        return 0;
    memcpy(&size, buf, sizeof size);
    memcpy(&type, buf + 4, sizeof type);
    if (type == FRAME_none || type >= FRAME_TYPE_COUNT)
        return err_set(e, ERR_link, "unknown frame type %u", type);
    if (size > LIMIT_FRAME_BYTES - FRAME_HEADER_BYTES)
        return err_set(e, ERR_link, "%s frame of %u bytes", frame_type_name(type), size);
    if (len - FRAME_HEADER_BYTES < size)
        return 0;
    cursor = (struct cursor){.at = payload, .end = payload + size};
    out->type = (enum frame_type)type;
    switch (out->type) {
#define FRAME(name, fields)        \
    case FRAME_##name:             \
        get_##name(c, &out->name); \
        break;
#include "schema/frames.def"
#undef FRAME
    default:
        return err_set(e, ERR_link, "unknown frame type %u", type);
    }
    if (c->failed || c->at != c->end)
        return err_set(e, ERR_link, "malformed %s frame", frame_type_name(type));
    return (long)(size + FRAME_HEADER_BYTES);
}

/* Every row as text: a change of any table gives another hash. */
static const char tables[] = "wire 1;"
#define FRAME(name, fields) #name ":" #fields ";"
#include "schema/frames.def"
#undef FRAME
#define OP(name, kind, reduce, in, out, dim, bus, adjoint, sentence) \
#name "," #kind "," #reduce "," #in "," #out "," #dim ";"
#include "schema/ops.def"
#undef OP
#define DTYPE(name, bytes, class, npy, st, aliases) #name "," #bytes "," #class ";"
#include "schema/dtypes.def"
#undef DTYPE
    ;

uint64_t schema_hash(void)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, 64 bits: draft-eastlake-fnv */

    for (const char *p = tables; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 0x100000001b3u;
    return hash;
}
