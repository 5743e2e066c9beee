/* codec_raw.c - raw little-endian bytes; dtype and shape come from the request. */
#include "server/codec.h"

#include <stdlib.h>
#include <string.h>

struct raw {
    enum dtype dtype;
    struct shape shape;
    uint64_t size_bytes, got;
    struct extent *extent;
};

static int wrong_size(const struct raw *r, uint64_t got, bool more, struct err *e)
{
    char text[SHAPE_TEXT];

    return err_set(e, ERR_size_mismatch, "shape %s of %s takes %llu bytes, and the body has %s%llu",
                   shape_format(&r->shape, text, sizeof text), dtypes[r->dtype].name,
                   (unsigned long long)r->size_bytes, more ? "at least " : "",
                   (unsigned long long)got);
}

static void raw_drop(void *state)
{
    struct raw *r = state;

    if (r)
        extent_unref(r->extent);
    free(r);
}

static int raw_begin(void **state, const struct codec_head *head, struct err *e)
{
    struct raw *r;

    if (!head->has_dtype || !head->has_shape) {
        err_set(
            e, ERR_missing_parameter,
            "raw bytes need dtype= and shape= in the query, for example dtype=float32&shape=2,3");
        return err_pointer(e, head->has_dtype ? "/shape" : "/dtype");
    }
    r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_no_memory, "a raw body");
    r->dtype = head->dtype;
    r->shape = head->shape;
    if (shape_measure(&r->shape, r->dtype, NULL, &r->size_bytes, e) != 0)
        goto out;
    if (head->length_bytes >= 0 && (uint64_t)head->length_bytes != r->size_bytes) {
        wrong_size(r, (uint64_t)head->length_bytes, false, e);
        goto out;
    }
    if (codec_alloc(head->payer, r->size_bytes, &r->extent, e) != 0)
        goto out;
    *state = r;
    return 0;
out:
    raw_drop(r);
    return -1;
}

static int raw_feed(void *state, const uint8_t *bytes, size_t len, struct err *e)
{
    struct raw *r = state;

    if (len > r->size_bytes - r->got)
        return wrong_size(r, r->got + len, true, e);
    memcpy(extent_bytes(r->extent) + r->got, bytes, len);
    r->got += len;
    return 0;
}

static int raw_finish(void *state, struct payload *out, struct err *e)
{
    struct raw *r = state;

    if (r->got != r->size_bytes)
        return wrong_size(r, r->got, false, e);
    if (r->dtype == DTYPE_bool)
        codec_normalise_bool(extent_bytes(r->extent), r->size_bytes);
    out->whole = tensor_new(r->dtype, &r->shape, r->extent, 0);
    return out->whole ? 0 : err_set(e, ERR_no_memory, "a tensor");
}

static int raw_write(const struct codec_out *what, struct parts *out, struct err *e)
{
    return codec_check_out(what, true, "raw", e) != 0 ? -1 : parts_of(what, NULL, 0, out, e);
}

const struct codec codec_raw = {
    .format = FORMAT_raw,
    .name = "raw",
    .media = "application/octet-stream",
    .begin = raw_begin,
    .feed = raw_feed,
    .finish = raw_finish,
    .drop = raw_drop,
    .write = raw_write,
};
