/* codec_npy.c - NumPy's .npy, versions 1 to 3: bytes in and out.
 * Source of the format: numpy.lib.format (NEP 1). */
#include "server/codec.h"
#include "server/npy_header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_MAX 12 /* magic, version, four bytes of length */
#define HEAD_MIN (10 + sizeof "{'descr':'|b1','fortran_order':True,'shape':()}" - 1)

struct npy {
    struct codec_head head;
    uint8_t prefix[PREFIX_MAX];
    size_t prefix_len; /* got */
    char *text;        /* the header's dict */
    size_t text_len, text_want;
    bool parsed;
    struct npy_header header;
    uint64_t size_bytes, got; /* of the data */
    struct extent *extent;
};

static void npy_drop(void *state)
{
    struct npy *n = state;

    if (!n)
        return;
    extent_unref(n->extent);
    free(n->text);
    free(n);
}

/* Room for the data is reserved before a byte of the body comes, so that a full arena is known in
 * time to say so; a longer head than the shortest one gives some of it back. */
static int npy_begin(void **state, const struct codec_head *head, struct err *e)
{
    struct npy *n = calloc(1, sizeof *n);

    if (!n)
        return err_set(e, ERR_no_memory, "a .npy body");
    n->head = *head;
    if (head->length_bytes >= (int64_t)HEAD_MIN &&
        codec_alloc(head->payer, (uint64_t)head->length_bytes - HEAD_MIN, &n->extent, e) != 0) {
        npy_drop(n);
        return -1;
    }
    *state = n;
    return 0;
}

static size_t prefix_want(const struct npy *n)
{
    return n->prefix_len < 8 ? 8 : n->prefix[6] == 1 ? 10 : 12;
}

static int read_prefix(struct npy *n, struct err *e)
{
    uint32_t len = n->prefix[8] | (uint32_t)n->prefix[9] << 8;

    if (n->prefix[6] != 1)
        len |= (uint32_t)n->prefix[10] << 16 | (uint32_t)n->prefix[11] << 24;
    if (len > LIMIT_NPY_HEADER_BYTES)
        return err_set(e, ERR_npy_header, "the header has %u bytes; at most %u are taken", len,
                       LIMIT_NPY_HEADER_BYTES);
    if (n->head.length_bytes >= 0 &&
        (uint64_t)n->head.length_bytes < prefix_want(n) + (uint64_t)len)
        return err_set(e, ERR_npy_header, "the header says it has %u bytes, more than the body",
                       len);
    n->text_want = len;
    n->text = malloc(len + 1u);
    return n->text ? 0 : err_set(e, ERR_no_memory, "a .npy header");
}

/* bfloat16 has no .npy dtype: the request says so, and two-byte elements carry its bits. */
static int settle_dtype(struct npy *n, struct err *e)
{
    struct npy_header *h = &n->header;

    if (n->head.has_dtype && n->head.dtype == DTYPE_bfloat16 &&
        (h->void2 || h->dtype == DTYPE_uint16)) {
        h->dtype = DTYPE_bfloat16;
        return 0;
    }
    if (h->void2)
        return err_set(
            e, ERR_dtype_unsupported,
            "the file holds '|V2'; if that is bfloat16, add dtype=bfloat16 to the query");
    if (n->head.has_dtype && n->head.dtype != h->dtype)
        return err_set(e, ERR_conflicting_parameter, "dtype= says %s, the file says %s",
                       dtypes[n->head.dtype].name, dtypes[h->dtype].name);
    return 0;
}

static int begin_data(struct npy *n, struct err *e)
{
    uint64_t before = prefix_want(n) + n->text_want;

    n->text[n->text_len] = '\0';
    if (npy_header_read(n->text, n->text_len, &n->header, e) != 0 || settle_dtype(n, e) != 0)
        return -1;
    if (n->head.has_shape && !shape_equal(&n->head.shape, &n->header.shape))
        return err_set(e, ERR_conflicting_parameter, "shape= and the file's shape differ");
    if (shape_measure(&n->header.shape, n->header.dtype, NULL, &n->size_bytes, e) != 0)
        return -1;
    n->parsed = true;
    if (n->head.length_bytes >= 0) {
        uint64_t data = (uint64_t)n->head.length_bytes - before;

        if (data != n->size_bytes)
            return err_set(e, data < n->size_bytes ? ERR_truncated : ERR_trailing_bytes,
                           "the shape takes %llu bytes of data, and the body has %llu",
                           (unsigned long long)n->size_bytes, (unsigned long long)data);
        extent_shrink(n->extent, n->size_bytes);
        return 0;
    }
    return codec_alloc(n->head.payer, n->size_bytes, &n->extent, e);
}

/* Bytes up to want into to; returns how many were taken. */
static size_t gather(uint8_t *to, size_t *have, size_t want, const uint8_t *bytes, size_t len)
{
    size_t n = want - *have < len ? want - *have : len;

    memcpy(to + *have, bytes, n);
    *have += n;
    return n;
}

/* Prefix and header; returns the bytes it took, or -1. */
static long feed_header(struct npy *n, const uint8_t *bytes, size_t len, struct err *e)
{
    const uint8_t *from = bytes, *end = bytes + len;

    while (!n->text && bytes < end) {
        bytes += gather(n->prefix, &n->prefix_len, prefix_want(n), bytes, (size_t)(end - bytes));
        if (npy_check_magic(n->prefix, n->prefix_len, e) != 0)
            return -1;
        if (n->prefix_len >= 8 && n->prefix_len == prefix_want(n) && read_prefix(n, e) != 0)
            return -1;
    }
    if (n->text) {
        bytes += gather((uint8_t *)n->text, &n->text_len, n->text_want, bytes,
                        (size_t)(end - bytes));
        if (n->text_len == n->text_want && begin_data(n, e) != 0)
            return -1;
    }
    return bytes - from;
}

static int npy_feed(void *state, const uint8_t *bytes, size_t len, struct err *e)
{
    struct npy *n = state;

    if (!n->parsed) {
        long took = feed_header(n, bytes, len, e);

        if (took < 0)
            return -1;
        bytes += took;
        len -= (size_t)took;
    }
    if (len == 0)
        return 0;
    if (len > n->size_bytes - n->got)
        return err_set(e, ERR_trailing_bytes, "the body goes on after the %llu bytes of its shape",
                       (unsigned long long)n->size_bytes);
    memcpy(extent_bytes(n->extent) + n->got, bytes, len);
    n->got += len;
    return 0;
}

static void swap_bytes(uint8_t *bytes, uint64_t size_bytes, uint32_t size)
{
#define SWAP(bits)                                       \
    for (uint64_t at = 0; at < size_bytes; at += size) { \
        uint##bits##_t v;                                \
                                                         \
        memcpy(&v, bytes + at, sizeof v);                \
        v = __builtin_bswap##bits(v);                    \
        memcpy(bytes + at, &v, sizeof v);                \
    }

    if (size == 2) {
        SWAP(16)
    } else if (size == 4) {
        SWAP(32)
    } else if (size == 8) {
        SWAP(64)
    }
#undef SWAP
}

/* Rows of one matrix become columns of another, in tiles that fit the cache. Strides and size are
 * in bytes: from is dense along its rows, to along its columns. */
struct matrix {
    const uint8_t *from;
    uint8_t *to;
    uint64_t rows, columns;
    uint64_t from_stride; /* between columns */
    uint64_t to_stride;   /* between rows */
};

#define TILE 64

static void turn(const struct matrix *m, uint32_t size)
{
#define TURN(type)                                                          \
    for (uint64_t i0 = 0; i0 < m->rows; i0 += TILE)                         \
        for (uint64_t j0 = 0; j0 < m->columns; j0 += TILE)                  \
            for (uint64_t i = i0; i < m->rows && i < i0 + TILE; i++)        \
                for (uint64_t j = j0; j < m->columns && j < j0 + TILE; j++) \
                    memcpy(m->to + i * m->to_stride + j * sizeof(type),     \
                           m->from + i * sizeof(type) + j * m->from_stride, sizeof(type));

    if (size == 1) {
        TURN(uint8_t)
    } else if (size == 2) {
        TURN(uint16_t)
    } else if (size == 4) {
        TURN(uint32_t)
    } else {
        TURN(uint64_t)
    }
#undef TURN
}

/* Fortran order to C order: the first axis is dense in the one, the last in the other; for each
 * place on the axes between them that is the turn of a matrix. */
static void transpose(const struct shape *s, uint32_t size, const uint8_t *from, uint8_t *to)
{
    uint64_t from_stride[LIMIT_NDIM] = {0}, to_stride[LIMIT_NDIM] = {0}, index[LIMIT_NDIM] = {0};
    uint32_t last = s->ndim - 1, d;
    struct matrix m = {.from = from, .to = to, .rows = s->dim[0], .columns = s->dim[last]};
    uint64_t step = size;

    for (d = 0; d <= last; step *= s->dim[d++])
        from_stride[d] = step;
    for (step = size, d = last + 1; d-- > 0; step *= s->dim[d])
        to_stride[d] = step;
    m.from_stride = from_stride[last];
    m.to_stride = to_stride[0];
    do {
        turn(&m, size);
        for (d = last; d-- > 1;) {
            m.from += from_stride[d];
            m.to += to_stride[d];
            if (++index[d] < s->dim[d])
                break;
            m.from -= from_stride[d] * s->dim[d];
            m.to -= to_stride[d] * s->dim[d];
            index[d] = 0;
        }
    } while (d > 0 && d < last);
}

static int put_in_order(struct npy *n, struct err *e)
{
    struct extent *sorted;

    if (!n->header.fortran || n->header.shape.ndim < 2 || n->size_bytes == 0)
        return 0;
    if (codec_alloc(n->head.payer, n->size_bytes, &sorted, e) != 0)
        return -1;
    transpose(&n->header.shape, dtypes[n->header.dtype].size_bytes, extent_bytes(n->extent),
              extent_bytes(sorted));
    extent_unref(n->extent);
    n->extent = sorted;
    return 0;
}

static int npy_finish(void *state, struct payload *out, struct err *e)
{
    struct npy *n = state;
    uint32_t size;

    if (!n->parsed && n->prefix_len < 8)
        return err_set(e, ERR_npy_bad_magic, "the body has %zu bytes; a .npy has at least 10",
                       n->prefix_len);
    if (!n->parsed)
        return err_set(e, ERR_npy_header, "the body ends within its header");
    if (n->got != n->size_bytes)
        return err_set(e, ERR_truncated,
                       "the shape takes %llu bytes of data, and the body has %llu",
                       (unsigned long long)n->size_bytes, (unsigned long long)n->got);
    size = dtypes[n->header.dtype].size_bytes;
    if (n->header.big_endian && size > 1)
        swap_bytes(extent_bytes(n->extent), n->size_bytes, size);
    if (n->header.dtype == DTYPE_bool)
        codec_normalise_bool(extent_bytes(n->extent), n->size_bytes);
    if (put_in_order(n, e) != 0)
        return -1;
    out->whole = tensor_new(n->header.dtype, &n->header.shape, n->extent, 0);
    return out->whole ? 0 : err_set(e, ERR_no_memory, "a tensor");
}

static int npy_write(const struct codec_out *what, struct parts *out, struct err *e)
{
    char head[NPY_HEADER_TEXT];
    const struct tensor *first;
    enum dtype d;

    if (codec_check_out(what, true, "npy", e) != 0)
        return -1;
    first = what->t[0];
    d = first->dtype == DTYPE_bfloat16 && what->as_uint16 ? DTYPE_uint16 : first->dtype;
    if (d == DTYPE_bfloat16)
        return err_set(e, ERR_not_acceptable,
                       ".npy has no bfloat16; ask for safetensors or raw, or add view=uint16");
    return parts_of(what, head,
                    npy_header_write(d, &first->shape, what->stacked ? what->n : 0, head), out, e);
}

const struct codec codec_npy = {
    .format = FORMAT_npy,
    .name = "npy",
    .media = "application/x-npy",
    .begin = npy_begin,
    .feed = npy_feed,
    .finish = npy_finish,
    .drop = npy_drop,
    .write = npy_write,
};
