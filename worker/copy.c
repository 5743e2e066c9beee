/* copy.c - strided rows, with loops of constant width for the small ones. */
#include "worker/copy.h"

#include <emmintrin.h>
#include <string.h>

#define LINE 64
#define STREAM_ROW 1024 /* shorter rows gain nothing */

void copy_stream(uint8_t *dst, const uint8_t *src, uint64_t n)
{
    uint64_t head = (uint64_t) - (intptr_t)dst % LINE;

    head = head < n ? head : n;
    memcpy(dst, src, head);
    dst += head;
    src += head;
    n -= head;
    for (; n >= LINE; n -= LINE, dst += LINE, src += LINE) {
        __m128i a = _mm_loadu_si128((const __m128i_u *)src);
        __m128i b = _mm_loadu_si128((const __m128i_u *)(src + 16));
        __m128i c = _mm_loadu_si128((const __m128i_u *)(src + 32));
        __m128i d = _mm_loadu_si128((const __m128i_u *)(src + 48));

        _mm_stream_si128((__m128i *)(void *)dst, a);
        _mm_stream_si128((__m128i *)(void *)(dst + 16), b);
        _mm_stream_si128((__m128i *)(void *)(dst + 32), c);
        _mm_stream_si128((__m128i *)(void *)(dst + 48), d);
    }
    memcpy(dst, src, n);
}

void copy_fence(void)
{
    _mm_sfence();
}

/* count rows of a width that the compiler knows, so that each is one or two instructions. */
#define ROWS_OF(width)                                                              \
    static void rows_##width(uint8_t *dst, uint64_t dst_stride, const uint8_t *src, \
                             uint64_t src_stride, uint64_t count)                   \
    {                                                                               \
        for (; count; count--, dst += dst_stride, src += src_stride)                \
            memcpy(dst, src, width);                                                \
    }
ROWS_OF(1)
ROWS_OF(2)
ROWS_OF(4)
ROWS_OF(8)
ROWS_OF(16)
ROWS_OF(32)
#undef ROWS_OF

static void copy_rows(uint8_t *dst, uint64_t dst_stride, const uint8_t *src, uint64_t src_stride,
                      uint64_t len, uint64_t count, bool stream)
{
    if (stream && len >= STREAM_ROW) {
        for (; count; count--, dst += dst_stride, src += src_stride)
            copy_stream(dst, src, len);
        return;
    }
    switch (len) {
    case 1:
        rows_1(dst, dst_stride, src, src_stride, count);
        return;
    case 2:
        rows_2(dst, dst_stride, src, src_stride, count);
        return;
    case 4:
        rows_4(dst, dst_stride, src, src_stride, count);
        return;
    case 8:
        rows_8(dst, dst_stride, src, src_stride, count);
        return;
    case 16:
        rows_16(dst, dst_stride, src, src_stride, count);
        return;
    case 32:
        rows_32(dst, dst_stride, src, src_stride, count);
        return;
    default:
        for (; count; count--, dst += dst_stride, src += src_stride)
            memcpy(dst, src, len);
    }
}

/* Where byte `at` of the piece lies. */
static uint64_t place(const struct rows *r, uint64_t at)
{
    return r->offset + at / r->len * r->stride + at % r->len;
}

/* Bytes [at, end) within one long row: whole short rows if at stands at the start of one. */
static uint64_t copy_within(const struct move *m, uint64_t at, uint64_t end)
{
    const struct rows *small = m->from.len < m->to.len ? &m->from : &m->to;
    const uint8_t *src = m->src + place(&m->from, at);
    uint8_t *dst = m->dst + place(&m->to, at);
    uint64_t left = small->len - at % small->len, count;

    if (left != small->len || end - at < small->len) { /* a part of a short row */
        uint64_t len = left < end - at ? left : end - at;

        if (m->stream && len >= STREAM_ROW)
            copy_stream(dst, src, len);
        else
            memcpy(dst, src, len);
        return at + len;
    }
    count = (end - at) / small->len;
    copy_rows(dst, small == &m->to ? m->to.stride : small->len, src,
              small == &m->from ? m->from.stride : small->len, small->len, count, m->stream);
    return at + count * small->len;
}

bool copy_is_there(const struct move *m)
{
    return m->src + m->from.offset == m->dst + m->to.offset;
}

void copy_range(const struct move *m, uint64_t lo, uint64_t hi)
{
    uint64_t longer = m->from.len > m->to.len ? m->from.len : m->to.len;

    if (lo == hi || copy_is_there(m))
        return;
    while (lo < hi) {
        uint64_t end = lo - lo % longer + longer;

        lo = copy_within(m, lo, end < hi ? end : hi);
    }
}
