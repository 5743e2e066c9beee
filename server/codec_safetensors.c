/* codec_safetensors.c - safetensors: a JSON header, then the bytes of all tensors without a gap.
 * Source of the format: the safetensors README and its Rust reader's checks. */
#include "server/codec.h"
#include "server/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_MIN (8 + sizeof "{}" - 1)
#define ENTRIES_MAX (LIMIT_RANKS + 2) /* one too many, and __metadata__ */

struct entry {
    char name[32];
    enum dtype dtype;
    struct shape shape;
    uint64_t begin, end;
};

struct safetensors {
    struct account *payer;
    int64_t length_bytes;
    bool has_dtype;
    enum dtype dtype; /* of the request */
    uint8_t prefix[8];
    size_t prefix_len;
    char *text;
    size_t text_len, text_want;
    bool parsed;
    struct entry *entries;
    uint32_t n;
    uint64_t size_bytes, got;
    struct extent *extent;
};

static void st_drop(void *state)
{
    struct safetensors *s = state;

    if (!s)
        return;
    extent_unref(s->extent);
    free(s->entries);
    free(s->text);
    free(s);
}

static int st_begin(void **state, const struct codec_head *head, struct err *e)
{
    struct safetensors *s;

    if (head->has_shape)
        return err_set(e, ERR_conflicting_parameter,
                       "a safetensors body says the shapes itself; leave shape= out");
    s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_no_memory, "a safetensors body");
    s->length_bytes = head->length_bytes;
    s->payer = head->payer;
    s->has_dtype = head->has_dtype;
    s->dtype = head->dtype;
    if (head->length_bytes >= (int64_t)HEAD_MIN &&
        codec_alloc(head->payer, (uint64_t)head->length_bytes - HEAD_MIN, &s->extent, e) != 0) {
        st_drop(s);
        return -1;
    }
    *state = s;
    return 0;
}

/* ---- the header ---- */

static int bad(const char *name, const char *what, struct err *e)
{
    return err_set(e, ERR_bad_safetensors, "tensor \"%s\": %s", name, what);
}

static int read_dtype(const struct json_span *value, struct entry *t, struct err *e)
{
    char text[32] = "";

    if (json_kind(value) == JSON_STRING && json_string(value, text, sizeof text) > 0) {
        for (int d = 0; d < DTYPE_COUNT; d++) {
            if (strcmp(dtypes[d].safetensors, text) == 0) {
                t->dtype = (enum dtype)d;
                return 0;
            }
        }
    }
    return err_set(e, ERR_dtype_unsupported, "tensor \"%s\" has dtype %.*s; there are: %s", t->name,
                   json_shown(value, 32), value->at, dtype_names());
}

static int read_offsets(const struct json_span *value, struct entry *t, struct err *e)
{
    uint64_t *to[] = {&t->begin, &t->end};
    struct json_span number;
    size_t pos = 0;
    int n = 0;

    while (json_kind(value) == JSON_ARRAY && json_next(value, &pos, &number)) {
        if (n == 2 || json_kind(&number) != JSON_NUMBER ||
            number_read(number.at, number.len, DTYPE_uint64, to[n], e) != 0)
            return err_set(e, ERR_bad_offsets, "tensor \"%s\": data_offsets is [begin, end]",
                           t->name);
        n++;
    }
    if (n != 2 || t->begin > t->end)
        return err_set(e, ERR_bad_offsets, "tensor \"%s\": data_offsets is [begin, end]", t->name);
    return 0;
}

static int read_entry(const struct json_member *m, struct entry *t, struct err *e)
{
    struct json_member parts[4];
    const struct json_span *dtype = NULL, *shape = NULL, *offsets = NULL;
    uint64_t bytes;
    uint32_t n;

    snprintf(t->name, sizeof t->name, "%.31s", m->name);
    if (json_kind(&m->value) != JSON_OBJECT || json_members(&m->value, parts, 4, &n, e) != 0)
        return bad(t->name, "it must be an object of dtype, shape and data_offsets", e);
    for (uint32_t i = 0; i < n; i++) {
        dtype = strcmp(parts[i].name, "dtype") == 0 ? &parts[i].value : dtype;
        shape = strcmp(parts[i].name, "shape") == 0 ? &parts[i].value : shape;
        offsets = strcmp(parts[i].name, "data_offsets") == 0 ? &parts[i].value : offsets;
    }
    if (n != 3 || !dtype || !shape || !offsets)
        return bad(t->name, "it must be an object of dtype, shape and data_offsets", e);
    if (read_dtype(dtype, t, e) != 0 || json_shape_read(shape, "", &t->shape, e) != 0 ||
        read_offsets(offsets, t, e) != 0 ||
        shape_measure(&t->shape, t->dtype, NULL, &bytes, e) != 0)
        return -1;
    if (t->end - t->begin != bytes)
        return err_set(e, ERR_body_mismatch,
                       "tensor \"%s\": its shape takes %" PRIu64
                       " bytes, its offsets span %" PRIu64,
                       t->name, bytes, t->end - t->begin);
    return 0;
}

static int check_metadata(const struct json_span *value, struct err *e)
{
    static const char what[] = "__metadata__ must be an object of strings";
    struct json_member members[LIMIT_JSON_MEMBERS];
    uint32_t n;

    if (json_kind(value) != JSON_OBJECT ||
        json_members(value, members, LIMIT_JSON_MEMBERS, &n, e) != 0)
        return err_set(e, ERR_bad_safetensors, what);
    for (uint32_t i = 0; i < n; i++)
        if (json_kind(&members[i].value) != JSON_STRING)
            return err_set(e, ERR_bad_safetensors, what);
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Every byte belongs to one tensor: no hole, no overlap. */
static int check_offsets(struct safetensors *s, struct err *e)
{
    uint64_t at = 0;

    qsort(s->entries, s->n, sizeof *s->entries, by_offset);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->entries[i].begin != at)
            return err_set(e, ERR_bad_offsets,
                           "tensor \"%s\" begins at %" PRIu64
                           ", but the one before it ends at %" PRIu64,
                           s->entries[i].name, s->entries[i].begin, at);
        at = s->entries[i].end;
    }
    s->size_bytes = at;
    return 0;
}

static int read_members(struct safetensors *s, const struct json_span *doc, struct json_member *m,
                        struct err *e)
{
    uint32_t n;

    if (json_members(doc, m, ENTRIES_MAX, &n, e) != 0) {
        if (e->code == ERR_bad_json)
            return err_set(e, ERR_bad_safetensors, "the header names more than %d tensors",
                           LIMIT_RANKS);
        return -1;
    }
    s->entries = calloc(n + 1, sizeof *s->entries);
    if (!s->entries)
        return err_set(e, ERR_no_memory, "%u tensors", n);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(m[i].name, "__metadata__") == 0) {
            if (check_metadata(&m[i].value, e) != 0)
                return -1;
        } else if (read_entry(&m[i], &s->entries[s->n++], e) != 0) {
            return -1;
        } else if (s->has_dtype && s->entries[s->n - 1].dtype != s->dtype) {
            return err_set(e, ERR_conflicting_parameter, "dtype= says %s, tensor \"%s\" is %s",
                           dtypes[s->dtype].name, s->entries[s->n - 1].name,
                           dtypes[s->entries[s->n - 1].dtype].name);
        }
    }
    return check_offsets(s, e);
}

static int read_header(struct safetensors *s, struct err *e)
{
    struct json_span doc;
    struct json_member *members;
    int rc;

    if (s->text_want == 0 || *s->text != '{')
        return err_set(e, ERR_bad_safetensors, "the header must begin with {");
    if (json_check(s->text, s->text_len, &doc, e) != 0) {
        err_context(e, "the header is not JSON");
        e->code = ERR_bad_safetensors;
        return -1;
    }
    members = calloc(ENTRIES_MAX, sizeof *members);
    if (!members)
        return err_set(e, ERR_no_memory, "a safetensors header");
    rc = read_members(s, &doc, members, e);
    free(members);
    return rc;
}

static int begin_data(struct safetensors *s, struct err *e)
{
    if (read_header(s, e) != 0)
        return -1;
    s->parsed = true;
    if (s->length_bytes >= 0) {
        uint64_t data = (uint64_t)s->length_bytes - 8 - s->text_want;

        if (data != s->size_bytes)
            return err_set(e, data < s->size_bytes ? ERR_bad_offsets : ERR_trailing_bytes,
                           "the offsets end at %" PRIu64 ", and %" PRIu64
                           " bytes follow the header",
                           s->size_bytes, data);
        extent_shrink(s->extent, s->size_bytes);
        return 0;
    }
    return codec_alloc(s->payer, s->size_bytes, &s->extent, e);
}

static int read_prefix(struct safetensors *s, struct err *e)
{
    uint64_t want = 0;

    for (int i = 7; i >= 0; i--)
        want = want << 8 | s->prefix[i];
    if (want == 0 || want > LIMIT_SAFETENSORS_HEADER_BYTES ||
        (s->length_bytes >= 0 && want > (uint64_t)s->length_bytes - 8))
        return err_set(e, ERR_bad_safetensors,
                       "the header says it has %" PRIu64 " bytes; it has at least 1, fits the body "
                       "and takes at most %u",
                       want, LIMIT_SAFETENSORS_HEADER_BYTES);
    s->text_want = want;
    s->text = malloc(want + 1);
    return s->text ? 0 : err_set(e, ERR_no_memory, "a safetensors header");
}

static size_t gather(void *to, size_t *have, size_t want, const uint8_t *bytes, size_t len)
{
    size_t n = want - *have < len ? want - *have : len;

    memcpy((uint8_t *)to + *have, bytes, n);
    *have += n;
    return n;
}

static int st_feed(void *state, const uint8_t *bytes, size_t len, struct err *e)
{
    struct safetensors *s = state;
    const uint8_t *end = bytes + len;

    if (!s->text) {
        bytes += gather(s->prefix, &s->prefix_len, sizeof s->prefix, bytes, (size_t)(end - bytes));
        if (s->prefix_len == sizeof s->prefix && read_prefix(s, e) != 0)
            return -1;
    }
    if (s->text && !s->parsed) {
        bytes += gather(s->text, &s->text_len, s->text_want, bytes, (size_t)(end - bytes));
        if (s->text_len == s->text_want && begin_data(s, e) != 0)
            return -1;
    }
    len = (size_t)(end - bytes);
    if (len == 0)
        return 0;
    if (len > s->size_bytes - s->got)
        return err_set(e, ERR_trailing_bytes, "the body goes on after its last tensor");
    memcpy(extent_bytes(s->extent) + s->got, bytes, len);
    s->got += len;
    return 0;
}

static int st_finish(void *state, struct payload *out, struct err *e)
{
    struct safetensors *s = state;

    if (!s->parsed)
        return err_set(e, ERR_bad_safetensors, "the body ends within its header");
    if (s->got != s->size_bytes)
        return err_set(e, ERR_truncated, "the tensors take %" PRIu64 " bytes, and %" PRIu64 " came",
                       s->size_bytes, s->got);
    out->items = calloc(s->n + 1, sizeof *out->items);
    if (!out->items)
        return err_set(e, ERR_no_memory, "%u tensors", s->n);
    for (; out->n < s->n; out->n++) {
        const struct entry *t = &s->entries[out->n];

        if (t->dtype == DTYPE_bool)
            codec_normalise_bool(extent_bytes(s->extent) + t->begin, t->end - t->begin);
        memcpy(out->items[out->n].name, t->name, sizeof t->name);
        out->items[out->n].tensor = tensor_new(t->dtype, &t->shape, s->extent, t->begin);
        if (!out->items[out->n].tensor)
            return err_set(e, ERR_no_memory, "%u tensors", s->n);
    }
    return 0;
}

/* ---- writing ---- */

static int st_write(const struct codec_out *what, struct parts *out, struct err *e)
{
    struct text head;
    uint64_t at = 0, len;
    int rc = -1;

    if (codec_check_out(what, false, "safetensors", e) != 0)
        return -1;
    text_init(&head);
    text_raw(&head, "\0\0\0\0\0\0\0\0", 8);
    text_object(&head, NULL);
    if (what->map) {
        text_object(&head, "__metadata__");
        text_string(&head, "outputs", what->map);
        text_end_object(&head);
    }
    for (uint32_t i = 0; i < what->n; i++) {
        const struct tensor *t = what->t[i];
        char name[12];

        if (!t)
            continue;
        snprintf(name, sizeof name, "%u", i);
        text_object(&head, name);
        text_string(&head, "dtype", dtypes[t->dtype].safetensors);
        text_array(&head, "shape");
        for (uint32_t d = 0; d < t->shape.ndim; d++)
            text_uint(&head, NULL, t->shape.dim[d]);
        text_end_array(&head);
        text_array(&head, "data_offsets");
        text_uint(&head, NULL, at);
        text_uint(&head, NULL, at + t->size_bytes);
        text_end_array(&head);
        text_end_object(&head);
        at += t->size_bytes;
    }
    text_end_object(&head);
    while (!head.failed && head.len % 8 != 0)
        text_raw(&head, " ", 1);
    if (head.failed) {
        err_set(e, ERR_no_memory, "a safetensors header");
        goto out;
    }
    len = head.len - 8;
    for (int i = 0; i < 8; i++)
        head.data[i] = (char)(len >> 8 * i & 0xff);
    rc = parts_of(what, head.data, head.len, out, e);
out:
    text_fini(&head);
    return rc;
}

const struct codec codec_safetensors = {
    .format = FORMAT_safetensors,
    .name = "safetensors",
    .media = "application/vnd.safetensors",
    .begin = st_begin,
    .feed = st_feed,
    .finish = st_finish,
    .drop = st_drop,
    .write = st_write,
};
