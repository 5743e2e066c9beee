/* workers_door.h - what workers_door.c and workers_tcp.c share: those who are not workers yet.
 * Nobody else includes it. Core thread.
 */
#ifndef TUTTI_SERVER_WORKERS_DOOR_H
#define TUTTI_SERVER_WORKERS_DOOR_H

#include "schema/handshake.h"
#include "server/strangers.h"
#include "server/workers_parts.h"

/* A connection that has not been welcomed. */
struct guest {
    struct peer *peer;
    struct launched process;        /* adopted, so that it can be fenced; none when it is unseen */
    char address[STRANGER_BYTES];   /* over TCP: where it comes from; "": the Unix socket */
    uint8_t nonce[HANDSHAKE_BYTES]; /* over TCP: what it has to sign */
    struct core_timer timer;
    struct guest *next, **prev;
};

/* A socket that listens. */
struct entrance {
    struct core_watch watch; /* fd: -1 when it is closed */
    struct core_timer again;
    void (*greet)(int fd); /* takes it */
};

/* Takes the socket, which is bound, also on failure. */
int entrance_open(struct entrance *way, int fd, void (*greet)(int fd), struct err *e);
void entrance_close(struct entrance *way); /* accepts a closed one */

/* Takes fd, and the process when it returns a guest; its frames go to frame. NULL: not let in. */
struct guest *guest_come(int fd, const struct launched *process, const char *address,
                         void (*frame)(struct peer *p, const struct frame *f));

/* Closes what is still the guest's and frees it. */
void guest_leave(struct guest *g);

/* Tells it why not, and closes. */
void guest_refuse(struct guest *g, const struct err *why);

/* Is it of our build? Returns 0, or -1 with ERR_refused, which names both. */
int guest_check_build(uint64_t its_schema_hash, const char *its_version, struct err *e);

/* It said HELLO: it gets a rank, or is refused. It is no guest afterwards. */
void guest_hello(struct guest *g, const struct frame_hello *hello);

/* workers_tcp.c: the worker, whose process is not seen, was welcomed, and has to hold the fence
 * before it is ready. */
void worker_await_ready(struct worker *w, struct peer *p);

#endif
