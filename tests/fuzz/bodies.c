/* bodies.c - a body fed in pieces, and the harness of every binary format. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define ENDLESS 4096 /* elements of a shape's axis: some beyond any arena */

/* Sizes of pieces, mostly small: a generator of Knuth's, seeded by the input. */
static size_t next_piece(uint32_t *cuts, size_t left)
{
    size_t n;

    if (*cuts == 0)
        return left;
    *cuts = *cuts * 1664525u + 1013904223u;
    n = 1 + (*cuts >> 16) % (*cuts >> 30 ? 16 : 512);
    return n < left ? n : left;
}

int fuzz_body(struct body *b, enum format f, const struct codec_head *head, const uint8_t *bytes,
              size_t len, uint32_t cuts, struct err *e)
{
    const char *media = codec_of(f)->media;
    int rc = body_begin(b, BODY_TENSORS, media, head, e);

    for (size_t at = 0, n; rc == 0 && at < len; at += n) {
        uint8_t *copy;

        n = next_piece(&cuts, len - at);
        copy = fuzz_copy(bytes + at, n);
        rc = body_feed(b, copy, n, e);
        free(copy);
    }
    if (rc == 0)
        rc = body_finish(b, e);
    if (rc != 0)
        fuzz_check_err(e);
    return rc;
}

static uint64_t axis_length(struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);

    return v < 250 ? v : v < 254 ? v * (uint64_t)ENDLESS : (uint64_t)1 << (v == 254 ? 32 : 62);
}

struct codec_head fuzz_head(struct fuzz_in *in)
{
    uint8_t flags = fuzz_u8(in);
    struct codec_head head = {.has_dtype = flags & 1, .has_shape = flags & 2};

    head.dtype = (enum dtype)(fuzz_u8(in) % DTYPE_COUNT);
    if (!head.has_shape)
        return head;
    head.shape.ndim = fuzz_u8(in) % (LIMIT_NDIM + 1);
    for (uint32_t d = 0; d < head.shape.ndim; d++)
        head.shape.dim[d] = axis_length(in);
    return head;
}

/* What a payload holds, as a list. */
static uint32_t list(const struct payload *p, struct tensor ***out)
{
    uint32_t n = p->whole ? 1 : p->n;

    *out = calloc(n + 1, sizeof **out);
    FUZZ_CHECK(*out, "no memory for a list");
    for (uint32_t i = 0; i < n; i++)
        (*out)[i] = p->whole ? p->whole : p->items[i].tensor;
    return n;
}

/* Every byte of the body's data belongs to one tensor, in their order. */
static void check_tiling(struct tensor *const *t, uint32_t n)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < n; i++) {
        FUZZ_CHECK(t[i]->extent == t[0]->extent && t[i]->offset == at,
                   "tensor %u lies at %llu, and the one before ends at %llu", i,
                   (unsigned long long)t[i]->offset, (unsigned long long)at);
        at += t[i]->size_bytes;
    }
    FUZZ_CHECK(n == 0 || at == extent_size(t[0]->extent), "%llu bytes of %llu are in tensors",
               (unsigned long long)at, (unsigned long long)extent_size(t[0]->extent));
}

static void check_alike(const struct payload *a, const struct payload *b)
{
    struct tensor **x, **y;
    uint32_t n = list(a, &x);

    FUZZ_CHECK(list(b, &y) == n, "two numbers of tensors");
    check_tiling(x, n);
    for (uint32_t i = 0; i < n; i++) {
        fuzz_check_tensor(x[i]);
        fuzz_check_same(x[i], y[i]);
        FUZZ_CHECK(a->whole || strcmp(a->items[i].name, b->items[i].name) == 0, "two names");
    }
    free(x);
    free(y);
}

static uint8_t *join(const struct parts *p)
{
    uint8_t *all = malloc(p->total_bytes + 1);
    size_t at = 0;

    FUZZ_CHECK(all, "no memory for an answer");
    for (uint32_t i = 0; i < p->n; i++) {
        FUZZ_CHECK(p->part[i].len <= p->total_bytes - at, "more parts than their sum");
        memcpy(all + at, p->part[i].bytes, p->part[i].len);
        at += p->part[i].len;
    }
    FUZZ_CHECK(at == p->total_bytes, "less parts than their sum");
    return all;
}

/* Every rank's part of a stack lies in it, and they are as many as axis 0 is long. */
static void check_split(const struct tensor *stack)
{
    uint32_t n = stack->shape.ndim ? (uint32_t)stack->shape.dim[0] : 0;
    struct tensor *part[LIMIT_RANKS];
    struct err e;

    if (n == 0 || n > LIMIT_RANKS || stack->shape.dim[0] > LIMIT_RANKS)
        return;
    FUZZ_CHECK(payload_split(stack, n, part, &e) == 0, "split: %s", e.detail);
    for (uint32_t i = 0; i < n; i++) {
        fuzz_check_tensor(part[i]);
        FUZZ_CHECK(part[i]->size_bytes * n == stack->size_bytes, "a part is no n-th of its stack");
        tensor_unref(part[i]);
    }
}

/* The writer calls them 0, 1, 2; tensors without bytes may be read in another order. */
static struct tensor *named(const struct payload *p, uint32_t i)
{
    for (uint32_t k = 0; k < p->n; k++)
        if ((uint32_t)atoi(p->items[k].name) == i)
            return p->items[k].tensor;
    fuzz_die("tensor %u is not there again", i);
}

/* Written by the same codec and read again, it is what it was. */
static void check_written(enum format f, const struct payload *p)
{
    struct tensor **t;
    struct codec_out what = {.n = list(p, &t), .as_uint16 = true};
    struct codec_head head = {.has_dtype = f == FORMAT_raw || f == FORMAT_npy,
                              .has_shape = f == FORMAT_raw};
    struct parts parts;
    struct body again;
    uint8_t *bytes;
    struct err e;

    what.t = t;
    FUZZ_CHECK(codec_of(f)->write(&what, &parts, &e) == 0, "cannot be written: %s", e.detail);
    bytes = join(&parts);
    head.length_bytes = (int64_t)parts.total_bytes;
    if (p->whole) {
        head.dtype = p->whole->dtype;
        head.shape = p->whole->shape;
        check_split(p->whole);
    }
    if (parts.total_bytes > 0) { /* an empty body is refused, whatever its shape */
        FUZZ_CHECK(fuzz_body(&again, f, &head, bytes, parts.total_bytes, 0, &e) == 0,
                   "what was written is not taken: %s", e.detail);
        FUZZ_CHECK(p->whole || again.payload.n == p->n, "another number of tensors");
        for (uint32_t i = 0; i < what.n; i++)
            fuzz_check_same(t[i], p->whole ? again.payload.whole : named(&again.payload, i));
        body_fini(&again);
    }
    free(bytes);
    parts_fini(&parts);
    free(t);
}

int fuzz_codec(enum format f, const uint8_t *data, size_t len)
{
    struct fuzz_in in = {data, len};
    struct codec_head head, chunked;
    struct body whole, pieces;
    uint32_t cuts;
    struct err e, f_e;
    int rc;

    fuzz_house();
    head = chunked = fuzz_head(&in);
    cuts = 1 + fuzz_u8(&in);
    head.length_bytes = (int64_t)in.len;
    chunked.length_bytes = -1;
    fuzz_arena_fresh(0xa5);
    rc = fuzz_body(&whole, f, &head, in.at, in.len, 0, &e);
    /* The other one has other bytes under it, and so has the first when it is read again. */
    fuzz_refill(0x5a);
    FUZZ_CHECK(fuzz_body(&pieces, f, &chunked, in.at, in.len, cuts, &f_e) == rc || in.len == 0,
               "whole: %s; in pieces: %s", rc ? e.detail : "taken", rc ? "taken" : f_e.detail);
    if (rc == 0) {
        check_alike(&whole.payload, &pieces.payload);
        check_written(f, &whole.payload);
    }
    body_fini(&whole);
    body_fini(&pieces);
    body_fini(&pieces);
    fuzz_arena_empty();
    return 0;
}
