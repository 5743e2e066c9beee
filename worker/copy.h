/* copy.h - strided rows: how every axis of every data-moving collective becomes copies.
 *
 * Pure; safe from any thread.
 */
#ifndef TUTTI_WORKER_COPY_H
#define TUTTI_WORKER_COPY_H

#include <stdbool.h>
#include <stdint.h>

/* A tensor piece as it lies in a larger tensor: rows of len bytes, stride apart. */
struct rows {
    uint64_t len;    /* bytes of one row; rows are full but nothing else is promised */
    uint64_t stride; /* bytes from one row to the next, >= len */
    uint64_t offset; /* bytes before the first row */
};

/* One piece on its way: the same bytes, cut into rows in two ways. Of the two row lengths one
 * divides the other. */
struct move {
    const uint8_t *src;
    uint8_t *dst;
    struct rows from, to;
    uint64_t total_bytes;
    bool
        stream; /* past the caches: nobody reads it soon, and a cached store reads the line first */
};

/* From here on a result is larger than what the caches keep for its reader. */
#define COPY_STREAM_BYTES (4u << 20)

/* memcpy of whole lines that does not pass through the caches. copy_fence before anybody is told.
 */
void copy_stream(uint8_t *dst, const uint8_t *src, uint64_t n);

/* Makes what copy_stream wrote visible before any later store. */
void copy_fence(void);

/* Do source and destination begin at the same place? Then the piece lies where it is to be. */
bool copy_is_there(const struct move *m);

/* Moves bytes [lo, hi) of the piece, lo and hi multiples of the shorter row or of 64 within one.
 * Source and destination must not overlap unless they are the same place: then nothing is done. */
void copy_range(const struct move *m, uint64_t lo, uint64_t hi);

#endif
