/* peer.h - one connection of the worker link: whole frames in, bytes out, never blocking. Core
 * thread.
 *
 * A connection that breaks, by either side, ends in one call of lost(), from the core's loop or
 * from peer_drain: never from inside a function that sends.
 */
#ifndef TUTTI_SERVER_PEER_H
#define TUTTI_SERVER_PEER_H

#include "schema/frame.h"
#include "server/core.h"

#include <stdbool.h>

#define PEER_OUT_BYTES (1u << 20) /* unsent; a worker that does not read for longer is lost */

struct peer {
    /* The owner's. Either may call peer_close. */
    void (*frame)(struct peer *p, const struct frame *f);
    void (*lost)(struct peer *p, const char *how);
    void *owner;
    /* peer.c's. */
    struct core_watch watch;
    bool reading, closed, broken;
    uint8_t *out; /* not sent yet: [out_start, out_end) */
    size_t out_start, out_end, out_cap;
    struct peer_fd *fds; /* that wait with their frames, in order */
    char how[160];       /* why it broke */
    struct frame_reader reader;
};

/* Takes fd, also on failure. Returns NULL with e. */
struct peer *peer_open(int fd, struct err *e);

/* NULL is ignored. */
void peer_close(struct peer *p);

/* As peer_close, but the socket is the caller's from now on: when all that was sent has left and
 * nothing that was received is unread. Else closes it, and returns -1. */
int peer_release(struct peer *p);

void peer_send(struct peer *p, const uint8_t *bytes, size_t len);
void peer_send_frame(struct peer *p, const struct frame *f);

/* With descriptors; for the first frame on a connection, which always has room. */
void peer_send_fds(struct peer *p, const struct frame *f, const int *fds, int n_fds);

/* With one descriptor, at any time and in its turn; fd stays the caller's. */
void peer_send_fd(struct peer *p, const struct frame *f, int fd);

/* Handles everything that has arrived, before somebody is judged by his silence. p may be closed
 * afterwards. */
void peer_drain(struct peer *p);

#endif
