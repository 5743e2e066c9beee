/* peer.c - a non-blocking stream socket with a bounded buffer for what the kernel does not take. */
#include "server/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FD_FRAME_BYTES 256 /* no longer one carries a descriptor in its turn */

static void on_ready(struct core_watch *w, uint32_t events);

struct peer *peer_open(int fd, struct err *e)
{
    struct peer *p = malloc(sizeof *p); /* its read buffer is not touched before it is used */

    if (!p) {
        close(fd);
        err_set(e, ERR_no_memory, "a worker's connection");
        return NULL;
    }
    memset(p, 0, offsetof(struct peer, reader));
    frame_reader_init(&p->reader, fd);
    p->watch = (struct core_watch){.ready = on_ready, .fd = fd};
    if (core_watch_add(&p->watch, EPOLLIN, e) != 0) {
        close(fd);
        free(p);
        return NULL;
    }
    return p;
}

/* A descriptor that leaves with a byte of what is unsent. */
struct peer_fd {
    struct peer_fd *next;
    size_t before; /* bytes that are to be sent before it */
    int fd;
};

static void drop_fds(struct peer *p)
{
    while (p->fds) {
        struct peer_fd *first = p->fds;

        p->fds = first->next;
        close(first->fd);
        free(first);
    }
}

static void release(struct peer *p)
{
    drop_fds(p);
    free(p->out);
    free(p);
}

void peer_close(struct peer *p)
{
    if (!p || p->closed)
        return;
    p->closed = true;
    core_watch_remove(&p->watch);
    frame_reader_fini(&p->reader);
    close(p->watch.fd);
    if (!p->reading)
        release(p);
}

int peer_release(struct peer *p)
{
    bool whole = !p->broken && !p->fds && p->out_start == p->out_end &&
                 p->reader.start == p->reader.end;
    int fd = p->watch.fd;

    p->closed = true;
    core_watch_remove(&p->watch);
    frame_reader_fini(&p->reader);
    if (!whole) {
        close(fd);
        fd = -1;
    }
    if (!p->reading)
        release(p);
    return fd;
}

/* The loop will see the hang-up and call lost(). */
static void break_off(struct peer *p, const char *what)
{
    if (p->broken)
        return;
    p->broken = true;
    snprintf(p->how, sizeof p->how, "%.*s", (int)sizeof p->how - 1, what);
    shutdown(p->watch.fd, SHUT_RDWR);
}

static void keep_unsent(struct peer *p, const uint8_t *bytes, size_t len)
{
    size_t unsent = p->out_end - p->out_start;

    if (unsent + len > PEER_OUT_BYTES) {
        break_off(p, "it does not read what it is sent");
        return;
    }
    if (p->out_end + len > p->out_cap) {
        size_t cap = unsent + len < 4096 ? 4096 : 2 * (unsent + len);
        uint8_t *out = malloc(cap);

        if (!out) {
            break_off(p, "out of memory for what it is sent");
            return;
        }
        if (unsent)
            memcpy(out, p->out + p->out_start, unsent);
        free(p->out);
        p->out = out;
        p->out_cap = cap;
        p->out_start = 0;
        p->out_end = unsent;
    }
    memcpy(p->out + p->out_end, bytes, len);
    p->out_end += len;
    if (unsent == 0)
        core_watch_set(&p->watch, EPOLLIN | EPOLLOUT);
}

/* Sends what the kernel takes. Returns how much. */
static size_t send_some(struct peer *p, const uint8_t *bytes, size_t len)
{
    size_t sent = 0;

    while (sent < len && !p->broken) {
        ssize_t n = send(p->watch.fd, bytes + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n >= 0)
            sent += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            break_off(p, strerror(errno));
    }
    return sent;
}

void peer_send(struct peer *p, const uint8_t *bytes, size_t len)
{
    size_t sent = p->out_end > p->out_start ? 0 : send_some(p, bytes, len);

    if (sent < len && !p->broken)
        keep_unsent(p, bytes + sent, len - sent);
}

void peer_send_frame(struct peer *p, const struct frame *f)
{
    static uint8_t buf[LIMIT_FRAME_BYTES];
    size_t len = frame_encode(f, buf, sizeof buf);

    if (len == 0)
        break_off(p, "a frame to it cannot be encoded");
    else
        peer_send(p, buf, len);
}

void peer_send_fds(struct peer *p, const struct frame *f, const int *fds, int n_fds)
{
    struct err e;

    if (frame_send(p->watch.fd, f, fds, n_fds, 0, &e) != 0)
        break_off(p, e.detail);
}

/* Is the first of those that wait on its way, with the byte that it waits for? */
static bool send_first_fd(struct peer *p, const uint8_t *byte)
{
    _Alignas(struct cmsghdr) char control[FRAME_CONTROL_BYTES];
    struct iovec piece = {.iov_base = (void *)(uintptr_t)byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};
    struct peer_fd *first = p->fds;

    frame_attach(&msg, control, &first->fd, 1);
    if (sendmsg(p->watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
        if (errno != EAGAIN && errno != EINTR)
            break_off(p, strerror(errno));
        return false;
    }
    p->fds = first->next;
    close(first->fd);
    free(first);
    return true;
}

/* How many bytes may be sent before the next descriptor has to be. */
static size_t until_fd(const struct peer *p)
{
    size_t unsent = p->out_end - p->out_start;

    return p->fds && p->fds->before < unsent ? p->fds->before : unsent;
}

static void advance(struct peer *p, size_t sent)
{
    p->out_start += sent;
    for (struct peer_fd *f = p->fds; f; f = f->next)
        f->before -= sent < f->before ? sent : f->before;
}

static void flush(struct peer *p)
{
    while (p->out_start < p->out_end && !p->broken) {
        size_t n = until_fd(p), sent = send_some(p, p->out + p->out_start, n);

        advance(p, sent);
        if (sent < n)
            return;
        if (p->out_start == p->out_end)
            break;
        if (!send_first_fd(p, p->out + p->out_start))
            return;
        advance(p, 1);
    }
    if (p->out_start < p->out_end)
        return;
    free(p->out);
    p->out = NULL;
    p->out_start = p->out_end = p->out_cap = 0;
    core_watch_set(&p->watch, EPOLLIN);
}

void peer_send_fd(struct peer *p, const struct frame *f, int fd)
{
    uint8_t buf[FD_FRAME_BYTES];
    size_t len = frame_encode(f, buf, sizeof buf);
    struct peer_fd *entry = calloc(1, sizeof *entry), **at = &p->fds;

    if (p->broken || !entry || len == 0) {
        if (!p->broken)
            break_off(p, entry ? "a frame to it cannot be encoded" : "out of memory");
        free(entry);
        return;
    }
    while (*at)
        at = &(*at)->next;
    *at = entry;
    entry->before = p->out_end - p->out_start;
    entry->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    keep_unsent(p, buf, len);
    if (entry->fd < 0)
        break_off(p, strerror(errno));
    if (!p->broken)
        flush(p);
}

/* Reads frames: all that there are, or all that came with one recv. */
static void read_frames(struct peer *p, bool all)
{
    static struct frame f; /* large */
    int rc = 1;
    struct err e;

    p->reading = true;
    while (!p->closed) {
        size_t had = p->reader.end - p->reader.start;

        rc = frame_read(&p->reader, MSG_DONTWAIT, &f, &e);
        if (rc == 1)
            p->frame(p, &f);
        else if (rc < 0 || had == p->reader.end - p->reader.start)
            break; /* broken, or nothing more has arrived */
        if (rc == 1 && !p->closed && !all && p->reader.start == p->reader.end)
            break; /* spares a recv that would only say "try again"; epoll tells if it is wrong */
    }
    if (rc < 0 && !p->closed)
        p->lost(p, p->broken ? p->how : e.detail);
    p->reading = false;
    if (p->closed)
        release(p);
}

void peer_drain(struct peer *p)
{
    read_frames(p, true);
}

static void on_ready(struct core_watch *w, uint32_t events)
{
    struct peer *p = CORE_OWNER(w, struct peer, watch);

    if (events & EPOLLOUT)
        flush(p);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_frames(p, false);
}
