/* chunk.h - the data channel: bytes between the server's arena and that of another host, in chunks.
 *
 * The server asks, the worker answers, each in the order in which it was asked. A head of fixed
 * size says what is asked; behind PUT's and DATA's stand the bytes, with their digest in the head:
 * TCP's own sum lets one broken packet in some ten thousand through.
 *
 *   PUT      these bytes to an offset of the host's arena     ACK
 *   GET      the bytes at an offset                           DATA, with them
 *   RESERVE  pages for this range, which a job will write to  ACK
 *
 * A chunk that was not acknowledged may be sent again, on another connection too: it says the same.
 */
#ifndef TUTTI_SCHEMA_CHUNK_H
#define TUTTI_SCHEMA_CHUNK_H

#include "schema/error.h"

#include <stddef.h>
#include <stdint.h>

#define CHUNK_BYTES (1u << 20) /* most bytes behind one head */
#define CHUNK_HEAD_BYTES 32

enum chunk_kind { CHUNK_PUT = 1, CHUNK_GET, CHUNK_RESERVE, CHUNK_DATA, CHUNK_ACK, CHUNK_KINDS };

enum chunk_answer {
    CHUNK_FINE,
    CHUNK_CORRUPT, /* the digest is another's: send it again */
    CHUNK_NO_ROOM, /* the filesystem of the host's arena is full */
    CHUNK_ANSWERS
};

struct chunk {
    enum chunk_kind kind;
    enum chunk_answer answer; /* of ACK */
    uint64_t offset, bytes;   /* in the host's arena; of DATA and ACK, those of the question */
    uint64_t digest;          /* of PUT and DATA */
};

/* The first 64 bits of what finds every error of a wire, and none that somebody made. */
uint64_t chunk_digest(const uint8_t *bytes, size_t n);

void chunk_encode(const struct chunk *c, uint8_t out[CHUNK_HEAD_BYTES]);

/* Returns 0, or -1 with ERR_link: no head is like that. */
int chunk_decode(const uint8_t in[CHUNK_HEAD_BYTES], struct chunk *out, struct err *e);

/* How many bytes stand behind the head. */
size_t chunk_body_bytes(const struct chunk *c);

/* Gathers heads, and bodies to where they belong, from a stream socket. One thread. */
struct chunk_reader {
    int fd;      /* not owned */
    size_t have; /* of the head */
    uint8_t head[CHUNK_HEAD_BYTES];
    uint8_t *to; /* what is left of the body goes there */
    size_t left;
};

/* flags: 0 or MSG_DONTWAIT. Returns 1 with *out set, 0 when it is not whole yet, -1 with ERR_link:
 * end of stream, a socket error, no head. */
int chunk_read_head(struct chunk_reader *r, int flags, struct chunk *out, struct err *e);

/* The body of the head that was read goes to `to`, which has room for it. */
void chunk_expect(struct chunk_reader *r, const struct chunk *c, uint8_t *to);

/* As chunk_read_head: 1 when the body is there. */
int chunk_read_body(struct chunk_reader *r, int flags, struct err *e);

#endif
