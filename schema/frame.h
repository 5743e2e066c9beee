/* frame.h - the worker link's frames: structs, encode, decode, whole frames on a socket.
 *
 * Structs come from frames.def. Encode and decode are pure. A frame_reader belongs to one thread;
 * frame_send may be called from several threads only under the caller's lock.
 */
#ifndef TUTTI_SCHEMA_FRAME_H
#define TUTTI_SCHEMA_FRAME_H

#include "schema/error.h"
#include "schema/limits.h"
#include "schema/shape.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define FRAME_NO_OFFSET UINT64_MAX
#define FRAME_ANY_RANK UINT32_MAX
#define FRAME_HEADER_BYTES 8
#define MEETS_by_ticket 1u /* its ranks find each other by tickets */
#define MEETS_across 2u    /* it also has ACROSS, for CPUs (and masks) of several hosts */
#define ACROSS "gloo"
#define FRAME_FDS 2        /* descriptors that may travel with one frame */
#define HANDSHAKE_BYTES 32 /* of a nonce, and of a proof: HMAC-SHA256 */

enum frame_type {
    FRAME_none,
#define FRAME(name, fields) FRAME_##name,
#include "schema/frames.def"
#undef FRAME
    FRAME_TYPE_COUNT
};

#define U32(f) uint32_t f;
#define U64(f) uint64_t f;
#define I64(f) int64_t f;
#define STR(f, cap) char f[cap];
#define SHAPE(f) struct shape f;
#define BYTES(f, cap) \
    uint32_t n_##f;   \
    uint8_t f[cap];
#define LIST32(f, cap) \
    uint32_t n_##f;    \
    uint32_t f[cap];
#define LIST64(f, cap) \
    uint32_t n_##f;    \
    uint64_t f[cap];
#define FRAME(name, fields) \
    struct frame_##name {   \
        fields              \
    };
#include "schema/frames.def"
#undef FRAME
#undef U32
#undef U64
#undef I64
#undef STR
#undef SHAPE
#undef BYTES
#undef LIST32
#undef LIST64

/* Large (tens of KiB): keep it static or on the heap, not deep in recursion. */
struct frame {
    enum frame_type type;
    union {
#define FRAME(name, fields) struct frame_##name name;
#include "schema/frames.def"
#undef FRAME
    };
};

const char *frame_type_name(enum frame_type t);

/* Header and payload into buf. Returns the bytes written, or 0 when cap is too small (never with
 * cap >= LIMIT_FRAME_BYTES) or a list says more than its cap. */
size_t frame_encode(const struct frame *f, uint8_t *buf, size_t cap);

/* One frame from the front of buf[0..len).
 *
 * Returns the bytes it took; 0 when more are needed; -1 with ERR_link when they can never be a
 * frame: unknown type, longer than LIMIT_FRAME_BYTES, a list or string that overruns, bytes left
 * over inside the payload. out is valid only when the result is positive. */
long frame_decode(const uint8_t *buf, size_t len, struct frame *out, struct err *e);

/* Hash of every table that both ends of the link must share, and of the wire version. */
uint64_t schema_hash(void);

/* Sends the whole frame, with n_fds descriptors, waiting (poll) up to timeout_ms for room.
 * Returns 0, or -1 with ERR_link; then the link is unusable. */
int frame_send(int fd, const struct frame *f, const int *fds, int n_fds, int timeout_ms,
               struct err *e);

/* As frame_send, of frames that frame_encode has made, one behind the other. */
int frame_send_encoded(int fd, uint8_t *bytes, size_t len, int timeout_ms, struct err *e);

/* Descriptors, FRAME_FDS at most, that go with the first byte of msg; control, aligned as a struct
 * cmsghdr, is the caller's until it is sent. */
#define FRAME_CONTROL_BYTES CMSG_SPACE(FRAME_FDS * sizeof(int))
void frame_attach(struct msghdr *msg, char control[FRAME_CONTROL_BYTES], const int *fds, int n_fds);

/* Gathers bytes from a stream socket into whole frames. */
struct frame_reader {
    int fd;             /* not owned */
    uint32_t most;      /* bytes of a frame; the owner may lower it */
    size_t start, end;  /* unread bytes in buf */
    int fds[FRAME_FDS]; /* received and not yet taken; -1 when none */
    uint8_t buf[2 * LIMIT_FRAME_BYTES];
};

void frame_reader_init(struct frame_reader *r, int fd);

/* Closes descriptors nobody took. */
void frame_reader_fini(struct frame_reader *r);

/* The next frame: from what is buffered, else after one recv (flags: 0 or MSG_DONTWAIT).
 * Returns 1 with *out set, 0 when no whole frame is there yet (would block, or interrupted), -1
 * with ERR_link on end of stream ("closed by peer"), a socket error, a malformed frame, or one of
 * more than `most` bytes. */
int frame_read(struct frame_reader *r, int flags, struct frame *out, struct err *e);

/* Takes the i-th received descriptor: the caller owns it. -1 when there is none. */
int frame_take_fd(struct frame_reader *r, int i);

/* The same of the one that came first: that of the next frame that carries one. */
int frame_take_first_fd(struct frame_reader *r);

#endif
