/* transfers.h - bytes between the server's arena and those of other hosts, on a thread of their
 * own.
 *
 * A host has one channel, a channel at most one connection at a time. Chunks go one behind the
 * other, some on their way at once; transfers of a channel take turns, a chunk each, so that a
 * small one does not stand behind a large one. When the connection breaks, transfers wait for the
 * next one and go on at the first chunk that was not acknowledged.
 *
 * The thread owns sockets and what is being moved; everybody else is the core thread.
 */
#ifndef TUTTI_SERVER_TRANSFERS_H
#define TUTTI_SERVER_TRANSFERS_H

#include "schema/error.h"
#include "server/core.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum transfer_way {
    TRANSFER_OUT,    /* to the host */
    TRANSFER_IN,     /* from it */
    TRANSFER_RESERVE /* nothing moves: the host takes pages for the range */
};

/* Zero-initialise, then fill in the first five. The bytes stay where they are, and as they are,
 * until done. */
struct transfer {
    void (*done)(struct transfer *t); /* core thread, exactly once */
    enum transfer_way way;
    uint8_t *at;     /* the server's */
    uint64_t offset; /* in the host's arena */
    uint64_t bytes;  /* at least 1 */

    atomic_bool unwanted; /* the asker's, at any time: it may end early, with ERR_aborted */

    int rc; /* in done: 0, or -1 with err: ERR_arena_full, ERR_aborted, ERR_link (channel_close) */
    struct err err;

    /* transfers.c's. */
    struct core_msg msg;
    uint64_t sent, answered; /* of bytes */
    uint32_t flying;         /* chunks that were asked for and not answered */
    bool failed, queued;
    struct transfer *next, **prev; /* of its channel */
    struct transfer *next_turn;
};

struct channel; /* opaque */

/* The core thread hears of a channel by these. */
struct channel_owner {
    void (*broke)(struct channel_owner *o);  /* its connection has ended, and not by our will */
    void (*closed)(struct channel_owner *o); /* after channel_close: it is free */
};

int transfers_start(struct err *e); /* main thread */
void transfers_stop(void);          /* main thread: takes what was posted, and then no more */

struct channel *channel_new(struct channel_owner *o, struct err *e); /* NULL: ERR_no_memory */

/* Its connection from now on, which has been proved; takes fd. */
void channel_attach(struct channel *c, int fd);

/* Ends its connection, when there is one. */
void channel_detach(struct channel *c);

/* Ends it: each of its transfers is done, with ERR_link; then closed() is called. */
void channel_close(struct channel *c);

void channel_start(struct channel *c, struct transfer *t);

struct channel_counts {
    uint64_t sent_bytes, received_bytes; /* of tensors, each time that they went */
    uint64_t broken;                     /* connections */
};
void channel_count(const struct channel *c, struct channel_counts *out);

#endif
