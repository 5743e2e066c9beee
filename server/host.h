/* host.h - other machines: each one arena, which its workers map and the server alone gives out.
 *
 * What lies there are copies of extents: of inputs, sent once however many ranks and jobs use them,
 * and of outputs, which become copies once they were fetched. A copy that nobody uses stays until
 * its extent is freed or others need the room, the one used longest ago first.
 *
 * The server's own machine is no host here: where a struct host is asked for, NULL stands for it.
 * Core thread, but for host_figures.
 */
#ifndef TUTTI_SERVER_HOST_H
#define TUTTI_SERVER_HOST_H

#include "schema/error.h"
#include "server/blocks.h"
#include "server/tensor.h"
#include "server/transfers.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HOST_NAME_BYTES 64

struct host {
    struct channel_owner as_owner; /* first; broke is its workers' to set */
    uint64_t nonce;                /* of its arena: its name to us */
    char name[HOST_NAME_BYTES];    /* its name to people */
    uint64_t arena_bytes;
    struct channel *channel;
    uint32_t workers; /* that may write to its arena */
    bool closed;      /* the last of them has gone; its nonce is never taken again */
    struct blocks room;
    struct copy *newest, *oldest; /* that nobody uses */
    uint32_t copies;              /* all */
    uint32_t leaving;             /* on their way, and wanted by nobody: they will give room */
    atomic_uint_least64_t used_bytes;
    struct host *next;
    /* workers_hosts.c's. */
    bool carried; /* rank `carrier` was told to make the channel's connection */
    uint32_t carrier;
    struct core_timer back; /* its time for that */
};

/* The host of this arena, which has one worker more; made when it is new. NULL with ERR_arena when
 * it was given up before, ERR_refused and ERR_no_memory. */
struct host *host_join(uint64_t nonce, uint64_t arena_bytes, const char *name, struct err *e);

/* One worker less. Nobody of the last may use copies any more. */
void host_leave(struct host *h);

/* No copy will be asked for any more, and extents are freed without a word: after core_stop. */
void hosts_close(void);

struct host_figures {
    uint64_t arena_bytes, used_bytes, sent_bytes, received_bytes, broken;
};
/* Any thread, while one of its workers is known to it. */
void host_figures(const struct host *h, struct host_figures *out);

/* ---- host_copies.c ---- */

enum copy_state {
    COPY_EMPTY,  /* room, and nothing in it that counts */
    COPY_COMING, /* on its way there */
    COPY_READY
};

/* Somebody who waits for a copy. */
struct copy_wait {
    void (*done)(struct copy_wait *w, const struct err *why); /* why NULL: it is there, or here */
    struct copy_wait *next;
};

struct copy {
    struct host *host;
    struct extent *extent; /* a reference while bytes are on their way, else NULL */
    struct tie *tie;       /* of the extent; NULL: it has gone */
    struct copy *next_tied;
    uint64_t from, bytes; /* of the extent's */
    struct block *block;
    enum copy_state state;
    uint32_t users;
    bool ahead; /* one of the users is its own transfer */
    struct transfer transfer;
    struct copy_wait *waits;
    struct copy *newer, *older; /* while nobody uses it */
};

/* A copy of a tensor's bytes, in use from now on: one that is there or coming, or NULL. */
struct copy *copy_find(struct host *h, const struct tensor *t);

/* Room for one, in use, COPY_EMPTY; copies that nobody uses make place. NULL with ERR_arena_full,
 * which names the host, or ERR_no_memory. */
struct copy *copy_make(struct host *h, const struct tensor *t, struct err *e);

/* Sends it ahead of a job that waits for its turn, if it is not there and there is room without
 * anybody's giving way, and to spare. */
void copy_ahead(struct host *h, const struct tensor *t);

/* It is used once less. One that is not COPY_READY goes, at once or when its transfer ends. */
void copy_release(struct copy *c);

/* The tensor's first byte in the host's arena. */
uint64_t copy_offset(const struct copy *c, const struct tensor *t);

/* To the host, if that has not begun; w hears, unless it is there: then false is returned. */
bool copy_bring(struct copy *c, struct extent *x, struct copy_wait *w);

/* Pages for an empty one; and what was written there back to the extent, after which it is
 * COPY_READY. */
void copy_reserve(struct copy *c, struct extent *x, struct copy_wait *w);
void copy_fetch(struct copy *c, struct extent *x, struct copy_wait *w);

/* The ranks have written there what the tensor is, and nothing of it is on its way. */
void copy_is_whole(struct copy *c);

/* w hears no more. */
void copy_forget(struct copy *c, struct copy_wait *w);

/* host.c's: of a host that has no worker any more. */
void copies_drop_unused(struct host *h);
/* And host_copies.c's: the host is freed when nothing of it is left. */
void host_release(struct host *h);

#endif
