/* fuzz_json_tensor.c - a JSON body with a tensor, as the first input of a job: dtype, cuts, text.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define POINTER "/inputs/0"

/* The lines before have two zeros as their output; there is no other job. */
static int find(struct json_jobs *jobs, const struct json_output *what, struct tensor **out,
                struct err *e)
{
    struct shape shape = {.ndim = 1, .dim = {2}};
    struct extent *x;

    (void)jobs;
    if (!what->by_line || what->line > 0)
        return err_set(e, ERR_input_unknown, "there is no such line");
    if (extent_alloc(8, &x, e) != 0)
        return -1;
    memset(extent_bytes(x), 0, 8);
    *out = tensor_new(DTYPE_float32, &shape, x, 0);
    extent_unref(x);
    FUZZ_CHECK(*out, "no memory for a tensor");
    return 0;
}

static int read_tensor(struct body *b, enum dtype d, uint32_t cuts, const uint8_t *bytes,
                       size_t len, struct tensor **out, struct err *e)
{
    struct codec_head head = {.length_bytes = cuts ? -1 : (int64_t)len};
    struct visitor who = {.account = account_everybody(), .role = ROLE_user};
    struct json_jobs jobs = {.who = &who, .find = find};
    bool named;
    int rc;

    *out = NULL;
    if (fuzz_body(b, FORMAT_json, &head, bytes, len, cuts, e) != 0)
        return -1;
    rc = json_tensor_read(&b->json, d, POINTER, &jobs, out, &named, e);
    if (rc == 0)
        return 0;
    fuzz_check_err(e);
    FUZZ_CHECK(strncmp(e->pointer, POINTER, strlen(POINTER)) == 0 || e->code == ERR_arena_full,
               "%s points at %s: %s", err_name(e->code), e->pointer, e->detail);
    FUZZ_CHECK(!*out, "a refused tensor is there");
    return -1;
}

/* As text and back it has the same bits. Where it is empty the axes behind the first 0 do not show.
 */
static void check_written(const struct tensor *t)
{
    struct tensor *again;
    struct text text;
    struct body b;
    struct err e;

    text_init(&text);
    json_tensor_write(&text, t);
    FUZZ_CHECK(!text.failed, "no memory for %llu elements", (unsigned long long)t->size_bytes);
    fuzz_check_json(text.data, text.len, "a tensor");
    fuzz_refill(0x33);
    FUZZ_CHECK(read_tensor(&b, t->dtype, 0, (uint8_t *)text.data, text.len, &again, &e) == 0,
               "%.200s is not taken: %s", text.data, e.detail);
    if (t->size_bytes > 0)
        fuzz_check_same(t, again);
    FUZZ_CHECK(t->size_bytes == again->size_bytes, "elements came from nowhere");
    tensor_unref(again);
    body_fini(&b);
    text_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_in in = {data, len};
    enum dtype d = (enum dtype)(fuzz_u8(&in) % DTYPE_COUNT);
    uint32_t cuts = 1 + fuzz_u8(&in);
    struct tensor *whole, *pieces;
    struct body a, b;
    struct err e, f;
    int rc;

    fuzz_house();
    fuzz_arena_fresh(0xa5);
    rc = read_tensor(&a, d, 0, in.at, in.len, &whole, &e);
    fuzz_refill(0x5a);
    FUZZ_CHECK(read_tensor(&b, d, cuts, in.at, in.len, &pieces, &f) == rc,
               "whole: %d, in pieces: %d", rc, -1 - rc);
    FUZZ_CHECK(rc == 0 || in.len == 0 || strcmp(e.detail, f.detail) == 0, "two reasons: %s; %s",
               e.detail, f.detail);
    if (rc == 0 && whole) {
        fuzz_check_tensor(whole);
        fuzz_check_same(whole, pieces);
        if (json_tensor_elements(&whole->shape) <= LIMIT_INLINE_ELEMENTS)
            check_written(whole);
    }
    tensor_unref(whole);
    tensor_unref(pieces);
    body_fini(&a);
    body_fini(&b);
    FUZZ_CHECK(body_json_bytes() == 0, "JSON bytes are left");
    fuzz_arena_empty();
    return 0;
}
