/* chunk.c - heads of chunks to bytes and back, and their way through a socket. */
#define XXH_INLINE_ALL /* no library to link: the worker has none of it either */
#include <xxhash.h>

#include "schema/chunk.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

uint64_t chunk_digest(const uint8_t *bytes, size_t n)
{
    return XXH3_64bits(bytes, n);
}

void chunk_encode(const struct chunk *c, uint8_t out[CHUNK_HEAD_BYTES])
{
    const uint32_t kind = c->kind, answer = c->answer;

    memcpy(out, &kind, sizeof kind); /* little endian: so is every machine that this builds for */
    memcpy(out + 4, &answer, sizeof answer);
    memcpy(out + 8, &c->offset, sizeof c->offset);
    memcpy(out + 16, &c->bytes, sizeof c->bytes);
    memcpy(out + 24, &c->digest, sizeof c->digest);
}

int chunk_decode(const uint8_t in[CHUNK_HEAD_BYTES], struct chunk *out, struct err *e)
{
    uint32_t kind, answer;
    struct chunk c;

    memcpy(&kind, in, sizeof kind);
    memcpy(&answer, in + 4, sizeof answer);
    memcpy(&c.offset, in + 8, sizeof c.offset);
    memcpy(&c.bytes, in + 16, sizeof c.bytes);
    memcpy(&c.digest, in + 24, sizeof c.digest);
    if (kind == 0 || kind >= CHUNK_KINDS || answer >= CHUNK_ANSWERS)
        return err_set(e, ERR_link, "a chunk of kind %u, answer %u", kind, answer);
    c.kind = (enum chunk_kind)kind;
    c.answer = (enum chunk_answer)answer;
    if (c.kind != CHUNK_RESERVE && c.kind != CHUNK_ACK && c.bytes > CHUNK_BYTES)
        return err_set(e, ERR_link, "a chunk of %llu bytes", (unsigned long long)c.bytes);
    *out = c;
    return 0;
}

size_t chunk_body_bytes(const struct chunk *c)
{
    return c->kind == CHUNK_PUT || c->kind == CHUNK_DATA ? c->bytes : 0;
}

/* One recv. Returns the bytes, 0 when there are none now, -1. */
static ssize_t receive(const struct chunk_reader *r, uint8_t *to, size_t n, int flags,
                       struct err *e)
{
    ssize_t got = recv(r->fd, to, n, flags);

    if (got > 0)
        return got;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got == 0)
        return err_set(e, ERR_link, "closed by peer");
    return err_sys(e, ERR_link, errno, "receive a chunk");
}

int chunk_read_head(struct chunk_reader *r, int flags, struct chunk *out, struct err *e)
{
    ssize_t got = receive(r, r->head + r->have, sizeof r->head - r->have, flags, e);

    if (got <= 0)
        return (int)got;
    r->have += (size_t)got;
    if (r->have < sizeof r->head)
        return 0;
    r->have = 0;
    return chunk_decode(r->head, out, e) == 0 ? 1 : -1;
}

void chunk_expect(struct chunk_reader *r, const struct chunk *c, uint8_t *to)
{
    r->to = to;
    r->left = chunk_body_bytes(c);
}

int chunk_read_body(struct chunk_reader *r, int flags, struct err *e)
{
    ssize_t got;

    if (r->left == 0)
        return 1;
    got = receive(r, r->to, r->left, flags, e);
    if (got <= 0)
        return (int)got;
    r->to += got;
    r->left -= (size_t)got;
    return r->left == 0;
}
