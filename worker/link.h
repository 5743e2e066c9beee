/* link.h - the worker's end of the link: connect, introduce ourselves, send, heartbeats.
 *
 * Frames are read by the main thread. Sending is behind one mutex (link_lock, in link.c), since
 * heartbeats come from a thread of their own: a worker deep in a long job is slow, not dead.
 */
#ifndef TUTTI_WORKER_LINK_H
#define TUTTI_WORKER_LINK_H

#include "schema/error.h"
#include "schema/frame.h"
#include "worker/backend.h"
#include "worker/proof.h"

#include <stdbool.h>
#include <stdint.h>

struct link_options {
    const char *server;          /* "unix:PATH", or HOST:PORT */
    const struct token_key *key; /* for HOST:PORT */
    uint32_t rank;               /* FRAME_ANY_RANK: whichever is free */
    const char *backend, *device;
    uint32_t reduces[REDUCTION_COUNT]; /* a bit per dtype that the backend reduces so */
    uint32_t meets;                    /* MEETS_ bits */
    struct gpu_facts gpu;
};

#define LINK_EXIT_STATUS 4 /* of a worker whose link has ended */

/* Connects and says HELLO; over TCP both ends prove who they are. Returns 0 with the WELCOME in
 * *welcome and its two descriptors, the arena and the fence, which are the caller's, -1 over TCP;
 * or -1: ERR_refused with the reason, ERR_link. */
int link_open(const struct link_options *o, struct frame *welcome, int *arena_fd, int *fence_fd,
              struct err *e);
void link_close(void);
int link_tcp_fd(void); /* -1: it is no TCP connection */

/* After a WELCOME by_lock: that we hold the fence and have the arena, and which (detail ""); or why
 * we leave. */
int link_say_ready(uint64_t epoch, uint64_t arena_nonce, uint64_t arena_bytes, const char *detail,
                   struct err *e);

/* That we write to our host's arena no more, and leave: nobody has to find out. */
void link_say_left(uint64_t epoch);

/* Starts the heartbeat thread, which ends the process over TCP when the server is silent for longer
 * than LIMIT_TCP_SILENT_MS, and where the server does not see it when the link has ended and the
 * process has not; progress is asked from it (any thread). */
int link_beat(uint64_t epoch, uint32_t every_ms, uint64_t (*progress)(void), struct err *e);

/* What the heartbeats say we are at; job 0 for nothing. Main thread. */
void link_working_on(uint64_t job, uint32_t attempt);

/* Any thread. Behind whatever link_send_soon keeps. */
int link_send(const struct frame *f, struct err *e);

/* Sent with what is sent next, or by link_flush, or when several are kept: one system call for
 * small frames in a row. Any thread. */
int link_send_soon(const struct frame *f, struct err *e);
int link_flush(struct err *e);

/* As frame_read; wait: block until something comes (or a signal does). Main thread. */
int link_read(bool wait, struct frame *out, struct err *e);

/* The descriptor that came with the frame read last, the caller's; -1: there was none. Main thread.
 */
int link_take_fd(void);

/* Is there anything to read, or has the server gone? Costs one system call. Main thread. */
bool link_pending(void);

#endif
