/* fuzz.c - bytes as choices, the arena that shows stray bytes, and what must be so. */
#include "tests/fuzz/fuzz.h"

#include "schema/log.h"
#include "server/problem.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#endif

static struct arena *arena;
static uint8_t fill;
static char dir[200];

void fuzz_die(const char *fmt, ...)
{
    va_list args;

    fputs("fuzz: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

/* ---- the input ---- */

static void take(struct fuzz_in *in, void *out, size_t n)
{
    size_t there = in->len < n ? in->len : n;

    memset(out, 0, n);
    if (there > 0)
        memcpy(out, in->at, there);
    in->at += there;
    in->len -= there;
}

uint8_t fuzz_u8(struct fuzz_in *in)
{
    uint8_t v;

    take(in, &v, sizeof v);
    return v;
}

uint32_t fuzz_u32(struct fuzz_in *in)
{
    uint32_t v;

    take(in, &v, sizeof v);
    return v;
}

uint64_t fuzz_u64(struct fuzz_in *in)
{
    uint64_t v;

    take(in, &v, sizeof v);
    return v;
}

char *fuzz_line(struct fuzz_in *in, char end)
{
    const uint8_t *stop = in->len ? memchr(in->at, end, in->len) : NULL;
    size_t len = stop ? (size_t)(stop - in->at) : in->len;
    char *text = malloc(len + 1);

    FUZZ_CHECK(text, "no memory for a line");
    if (len > 0)
        memcpy(text, in->at, len);
    text[len] = '\0';
    in->at += len + (stop != NULL);
    in->len -= len + (stop != NULL);
    return text;
}

void *fuzz_copy(const void *bytes, size_t len)
{
    void *copy = malloc(len);

    FUZZ_CHECK(copy || len == 0, "no memory for a copy");
    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

/* ---- the arena ---- */

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_dir(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_dir(void)
{
    const char *shm = getenv("TUTTI_TEST_SHM");

    if (dir[0])
        return dir;
    snprintf(dir, sizeof dir, "%.180s/fuzz-XXXXXX", shm ? shm : "/dev/shm");
    FUZZ_CHECK(mkdtemp(dir), "no directory %s", dir);
    atexit(remove_dir);
    return dir;
}

void fuzz_house(void)
{
    char path[sizeof dir + 8];
    struct err e;
    bool kept;

    if (arena)
        return;
    log_init("fuzz", LOG_error, false);
    snprintf(path, sizeof path, "%s/arena", fuzz_dir());
    FUZZ_CHECK(arena_open(&arena, path, FUZZ_ARENA, 0, &kept, &e) == 0 &&
                   extent_init(arena, &e) == 0 && tensor_table_init(&e) == 0,
               "%s", e.detail);
}

struct arena *fuzz_arena(void)
{
    return arena;
}

void fuzz_arena_fresh(uint8_t with)
{
    struct extent_usage u;

    extent_usage(&u);
    FUZZ_CHECK(u.extents == 0, "an input begins with %llu extents", (unsigned long long)u.extents);
    fill = with;
    ASAN_POISON_MEMORY_REGION(arena_base(arena) + ARENA_HEADER_BYTES,
                              FUZZ_ARENA - ARENA_HEADER_BYTES);
}

void fuzz_refill(uint8_t with)
{
    fill = with;
}

void fuzz_arena_empty(void)
{
    struct extent_usage u;
    struct err e;

    extent_usage(&u);
    FUZZ_CHECK(u.extents == 0 && u.used_bytes == 0, "%llu extents are left, %llu bytes",
               (unsigned long long)u.extents, (unsigned long long)u.used_bytes);
    FUZZ_CHECK(extent_check(&e) == 0, "the allocator: %s", e.detail);
}

/* The linker puts these before the allocator's own (--wrap). */
int __real_extent_alloc(uint64_t size_bytes, struct extent **out, struct err *e);
int __wrap_extent_alloc(uint64_t size_bytes, struct extent **out, struct err *e);
int __real_extent_alloc_for(struct account *a, uint64_t size_bytes, struct extent **out,
                            struct err *e);
int __wrap_extent_alloc_for(struct account *a, uint64_t size_bytes, struct extent **out,
                            struct err *e);
void __real_extent_shrink(struct extent *x, uint64_t size_bytes);
void __wrap_extent_shrink(struct extent *x, uint64_t size_bytes);

int __real_extent_adopt(uint64_t offset, uint64_t size_bytes, struct extent **out, struct err *e);
int __wrap_extent_adopt(uint64_t offset, uint64_t size_bytes, struct extent **out, struct err *e);

static uint64_t rounded(uint64_t n)
{
    return (n + LIMIT_EXTENT_ALIGN_BYTES - 1) & ~(uint64_t)(LIMIT_EXTENT_ALIGN_BYTES - 1);
}

static int allocated(int rc, uint64_t size_bytes, struct extent **out)
{
    if (rc != 0 || size_bytes == 0)
        return rc;
    ASAN_POISON_MEMORY_REGION(extent_bytes(*out), rounded(size_bytes));
    ASAN_UNPOISON_MEMORY_REGION(extent_bytes(*out), size_bytes);
    memset(extent_bytes(*out), fill, size_bytes);
    return 0;
}

int __wrap_extent_alloc(uint64_t size_bytes, struct extent **out, struct err *e)
{
    return allocated(__real_extent_alloc(size_bytes, out, e), size_bytes, out);
}

int __wrap_extent_alloc_for(struct account *a, uint64_t size_bytes, struct extent **out,
                            struct err *e)
{
    return allocated(__real_extent_alloc_for(a, size_bytes, out, e), size_bytes, out);
}

/* What an earlier life left in it: zeros, which are right for every dtype. */
int __wrap_extent_adopt(uint64_t offset, uint64_t size_bytes, struct extent **out, struct err *e)
{
    int rc = __real_extent_adopt(offset, size_bytes, out, e);

    if (rc != 0 || size_bytes == 0)
        return rc;
    ASAN_UNPOISON_MEMORY_REGION(extent_bytes(*out), size_bytes);
    memset(extent_bytes(*out), 0, size_bytes);
    return 0;
}

void __wrap_extent_shrink(struct extent *x, uint64_t size_bytes)
{
    uint64_t before = x ? extent_size(x) : 0;

    __real_extent_shrink(x, size_bytes);
    if (size_bytes < before) {
        ASAN_POISON_MEMORY_REGION(extent_bytes(x), rounded(before));
        ASAN_UNPOISON_MEMORY_REGION(extent_bytes(x), size_bytes);
    }
}

/* ---- what must be so ---- */

void fuzz_check_json(const char *text, size_t len, const char *what)
{
    struct json_span doc;
    struct err e;

    FUZZ_CHECK(json_check(text, len, &doc, &e) == 0, "%s is no JSON: %s: %.*s", what, e.detail,
               (int)(len < 400 ? len : 400), text);
}

void fuzz_check_err(const struct err *e)
{
    struct text t;

    FUZZ_CHECK(e->code > ERR_none && e->code < ERR_COUNT, "an error without a code: %d", e->code);
    FUZZ_CHECK(memchr(e->detail, 0, sizeof e->detail) && e->detail[0], "%s says nothing",
               err_name(e->code));
    FUZZ_CHECK(e->code != ERR_internal && e->code != ERR_no_memory, "%s: %s", err_name(e->code),
               e->detail);
    text_init(&t);
    problem_write(&t, e, NULL);
    FUZZ_CHECK(!t.failed, "no memory for a problem");
    fuzz_check_json(t.data, t.len, "a problem document");
    text_fini(&t);
}

void fuzz_check_tensor(const struct tensor *t)
{
    uint64_t count, bytes, size = t->extent ? extent_size(t->extent) : 0;
    struct err e;

    FUZZ_CHECK(t->dtype < DTYPE_COUNT, "dtype %d", (int)t->dtype);
    FUZZ_CHECK(shape_measure(&t->shape, t->dtype, &count, &bytes, &e) == 0, "shape: %s", e.detail);
    FUZZ_CHECK(t->size_bytes == bytes, "%llu bytes for a shape of %llu",
               (unsigned long long)t->size_bytes, (unsigned long long)bytes);
    if (bytes == 0)
        return; /* it needs no place */
    FUZZ_CHECK(t->extent && t->offset <= size && bytes <= size - t->offset,
               "[%llu, +%llu) leaves its extent of %llu bytes", (unsigned long long)t->offset,
               (unsigned long long)bytes, (unsigned long long)size);
    for (uint64_t i = 0; t->dtype == DTYPE_bool && i < bytes; i++)
        FUZZ_CHECK(tensor_data(t)[i] <= 1, "a bool of %u", tensor_data(t)[i]);
}

void fuzz_check_same(const struct tensor *a, const struct tensor *b)
{
    FUZZ_CHECK(a->dtype == b->dtype, "%s and %s", dtypes[a->dtype].name, dtypes[b->dtype].name);
    FUZZ_CHECK(shape_equal(&a->shape, &b->shape), "two shapes");
    for (uint64_t i = 0; i < a->size_bytes; i++)
        FUZZ_CHECK(tensor_data(a)[i] == tensor_data(b)[i], "byte %llu is %02x and %02x",
                   (unsigned long long)i, tensor_data(a)[i], tensor_data(b)[i]);
}
