/* transfers_parts.h - what transfers.c and transfers_chunks.c share; nobody else includes it. */
#ifndef TUTTI_SERVER_TRANSFERS_PARTS_H
#define TUTTI_SERVER_TRANSFERS_PARTS_H

#include "schema/chunk.h"
#include "server/transfers.h"

#define WINDOW 16 /* chunks on their way: a network of 10 Gbit/s and 12 ms is kept busy */

/* A chunk that was asked for. */
struct flight {
    struct transfer *transfer;
    uint64_t at, bytes; /* of the transfer's */
};

struct channel {
    struct channel_owner *owner;
    struct core_msg broke, closed;
    atomic_bool broke_posted;
    atomic_uint_least64_t sent_bytes, received_bytes, broken;
    /* Under the lock of transfers.c: what the core thread wants. */
    struct transfer *fresh, **fresh_end;
    int new_fd; /* -1: none */
    bool detach, close, wants;
    struct channel *next_wanting;
    /* The thread's. */
    struct channel *next, **prev;
    int fd; /* -1: no connection */
    struct transfer *all;
    struct transfer *turn, **turn_end; /* those with chunks to ask for */
    struct flight window[WINDOW];      /* a ring: first, and how many */
    uint32_t first, flying;
    uint64_t heard_us; /* clock_us() of the last byte, or of the first chunk after none */
    uint8_t head[CHUNK_HEAD_BYTES];
    const uint8_t *body;
    size_t head_left, body_left; /* to be sent */
    struct chunk_reader in;
    bool in_body;
    uint64_t digest; /* that the body is to have */
};

/* transfers_chunks.c; the transfers' thread */
void channel_enter(struct channel *c, struct transfer *t); /* it takes its turns from now on */
/* It leaves its channel; code ERR_none: as it says itself. */
void transfer_finish(struct transfer *t, enum err_code code, const char *why);
void channel_hang_up(struct channel *c);                /* transfers wait for the next connection */
void channel_break(struct channel *c, const char *how); /* the same, and the core hears of it */
bool channel_has_unsent(const struct channel *c);
void channel_ask(struct channel *c);  /* sends what the socket takes */
void channel_hear(struct channel *c); /* takes what has come */

#endif
