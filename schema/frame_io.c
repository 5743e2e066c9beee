/* frame_io.c - whole frames, with descriptors, on a stream socket. */
#include "schema/frame.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void frame_attach(struct msghdr *msg, char control[FRAME_CONTROL_BYTES], const int *fds, int n_fds)
{
    struct cmsghdr *c;

    memset(control, 0, FRAME_CONTROL_BYTES);
    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
    memcpy(CMSG_DATA(c), fds, (size_t)n_fds * sizeof(int));
}

static int send_bytes(int fd, uint8_t *bytes, size_t len, const int *fds, int n_fds, int timeout_ms,
                      struct err *e)
{
    _Alignas(struct cmsghdr) char control[FRAME_CONTROL_BYTES];
    size_t sent = 0;

    while (sent < len) {
        struct iovec piece = {.iov_base = bytes + sent, .iov_len = len - sent};
        struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};
        ssize_t n;

        if (sent == 0 && n_fds > 0)
            frame_attach(&msg, control, fds, n_fds);
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};

            if (poll(&p, 1, timeout_ms) == 0)
                return err_set(e, ERR_link, "the peer has not read for %d ms", timeout_ms);
        } else if (errno != EINTR) {
            return err_sys(e, ERR_link, errno, "send a frame");
        }
    }
    return 0;
}

int frame_send(int fd, const struct frame *f, const int *fds, int n_fds, int timeout_ms,
               struct err *e)
{
    uint8_t buf[LIMIT_FRAME_BYTES];
    size_t len = frame_encode(f, buf, sizeof buf);

    if (len == 0)
        return err_set(e, ERR_link, "a %s frame cannot be encoded", frame_type_name(f->type));
    return send_bytes(fd, buf, len, fds, n_fds, timeout_ms, e);
}

int frame_send_encoded(int fd, uint8_t *bytes, size_t len, int timeout_ms, struct err *e)
{
    return send_bytes(fd, bytes, len, NULL, 0, timeout_ms, e);
}

void frame_reader_init(struct frame_reader *r, int fd)
{
    r->fd = fd;
    r->most = LIMIT_FRAME_BYTES;
    r->start = r->end = 0;
    for (int i = 0; i < FRAME_FDS; i++)
        r->fds[i] = -1;
}

void frame_reader_fini(struct frame_reader *r)
{
    for (int i = 0; i < FRAME_FDS; i++) {
        if (r->fds[i] >= 0)
            close(r->fds[i]);
        r->fds[i] = -1;
    }
}

int frame_take_fd(struct frame_reader *r, int i)
{
    int fd = i >= 0 && i < FRAME_FDS ? r->fds[i] : -1;

    if (fd >= 0)
        r->fds[i] = -1;
    return fd;
}

int frame_take_first_fd(struct frame_reader *r)
{
    int fd = r->fds[0];

    for (int i = 1; i < FRAME_FDS; i++)
        r->fds[i - 1] = r->fds[i];
    r->fds[FRAME_FDS - 1] = -1;
    return fd;
}

/* Descriptors beyond those expected are closed: a peer cannot fill our table. */
static void keep_fds(struct frame_reader *r, struct msghdr *msg)
{
    int slot = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            while (slot < FRAME_FDS && r->fds[slot] >= 0)
                slot++;
            if (slot < FRAME_FDS)
                r->fds[slot] = fd;
            else
                close(fd);
        }
    }
}

static int fill(struct frame_reader *r, int flags, struct err *e)
{
    _Alignas(struct cmsghdr) char control[FRAME_CONTROL_BYTES];
    struct iovec piece;
    struct msghdr msg = {.msg_iov = &piece,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof control};
    ssize_t n;

    memmove(r->buf, r->buf + r->start, r->end - r->start);
    r->end -= r->start;
    r->start = 0;
    piece = (struct iovec){.iov_base = r->buf + r->end, .iov_len = sizeof r->buf - r->end};
    n = recvmsg(r->fd, &msg, flags | MSG_CMSG_CLOEXEC);
    if (n > 0) {
        keep_fds(r, &msg);
        r->end += (size_t)n;
        return 1;
    }
    if (n == 0)
        return err_set(e, ERR_link, "closed by peer");
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    return err_sys(e, ERR_link, errno, "receive");
}

/* As frame_decode; a frame that is too long is known by its first bytes. */
static long decode(const struct frame_reader *r, struct frame *out, struct err *e)
{
    size_t len = r->end - r->start;
    uint32_t payload;

    if (len >= sizeof payload) {
        memcpy(&payload, r->buf + r->start, sizeof payload);
        if (payload > r->most - FRAME_HEADER_BYTES)
            return err_set(e, ERR_link, "a frame of %u bytes, where %u are allowed", payload,
                           r->most - FRAME_HEADER_BYTES);
    }
    return frame_decode(r->buf + r->start, len, out, e);
}

int frame_read(struct frame_reader *r, int flags, struct frame *out, struct err *e)
{
    long took = decode(r, out, e);

    if (took == 0) {
        int rc = fill(r, flags, e);

        if (rc <= 0)
            return rc;
        took = decode(r, out, e);
    }
    if (took < 0)
        return -1;
    if (took == 0)
        return 0;
    r->start += (size_t)took;
    return 1;
}
