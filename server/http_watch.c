/* http_watch.c - one thread that sees clients hang up while their request is suspended
 * (libmicrohttpd does not), and shuts sockets that send no request, send a body too slowly, or take
 * an answer too slowly. */
#include "schema/clock.h"
#include "schema/failpoint.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "server/http_internal.h"
#include "server/memory.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define TICK_MS 1000
#define TICK_US (TICK_MS * 1000ull)

/* watch.lock also holds off the end of a request while its on_gone runs. */
static struct {
    pthread_mutex_t lock;
    pthread_t thread;
    int epoll, stop;
    struct http_socket *sockets;
    struct http_socket **by_fd; /* where events find their socket, if it is still the same one */
    uint32_t n_by_fd, generation;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1, .stop = -1};

atomic_uint_least64_t http_too_slow;

void watch_socket_opened(struct http_socket *s)
{
    uint32_t fd = (uint32_t)s->fd;

    s->since_us = clock_us();
    s->fresh = true;
    pthread_mutex_lock(&watch.lock);
    s->generation = ++watch.generation;
    s->next = watch.sockets;
    s->prev = &watch.sockets;
    if (s->next)
        s->next->prev = &s->next;
    watch.sockets = s;
    if (fd >= watch.n_by_fd) {
        uint32_t n = 2 * fd + 64;
        struct http_socket **grown = realloc(watch.by_fd, n * sizeof *grown);

        if (grown) {
            for (uint32_t i = watch.n_by_fd; i < n; i++)
                grown[i] = NULL;
            watch.by_fd = grown;
            watch.n_by_fd = n;
        }
    }
    if (fd < watch.n_by_fd)
        watch.by_fd[fd] = s;
    pthread_mutex_unlock(&watch.lock);
}

void watch_socket_closed(struct http_socket *s)
{
    uint32_t fd = (uint32_t)s->fd;

    pthread_mutex_lock(&watch.lock);
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    if (fd < watch.n_by_fd && watch.by_fd[fd] == s)
        watch.by_fd[fd] = NULL;
    pthread_mutex_unlock(&watch.lock);
}

void watch_body(struct http_socket *s, bool begins, uint64_t bytes)
{
    pthread_mutex_lock(&watch.lock);
    if (begins) {
        s->got_bytes = s->behind_us = 0;
        s->in_body = true;
    }
    s->got_bytes += bytes;
    pthread_mutex_unlock(&watch.lock);
}

void watch_answered(struct http_socket *s, struct http_connection *c)
{
    pthread_mutex_lock(&watch.lock);
    s->since_us = clock_us();
    s->fresh = false;
    s->in_body = false;
    s->behind_us = 0;
    s->request = c;
    pthread_mutex_unlock(&watch.lock);
}

void watch_arm(struct http_connection *c, void (*gone)(struct request *rq))
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLONESHOT};

    pthread_mutex_lock(&watch.lock);
    c->on_gone = gone;
    c->gone = false;
    c->socket->in_body = false;
    event.data.u64 = (uint64_t)c->socket->generation << 32 | (uint32_t)c->socket->fd;
    c->armed = epoll_ctl(watch.epoll, EPOLL_CTL_ADD, c->socket->fd, &event) == 0;
    pthread_mutex_unlock(&watch.lock);
}

bool watch_disarm(struct http_connection *c)
{
    bool gone;

    pthread_mutex_lock(&watch.lock);
    if (c->armed)
        epoll_ctl(watch.epoll, EPOLL_CTL_DEL, c->socket->fd, NULL);
    c->armed = false;
    c->on_gone = NULL;
    gone = c->gone;
    pthread_mutex_unlock(&watch.lock);
    return gone;
}

/* on_gone only posts to another thread, so it may run under the lock. */
static void hung_up(uint64_t data)
{
    uint32_t fd = (uint32_t)data, generation = (uint32_t)(data >> 32);
    struct http_connection *c;

    pthread_mutex_lock(&watch.lock);
    c = fd < watch.n_by_fd && watch.by_fd[fd] && watch.by_fd[fd]->generation == generation
            ? watch.by_fd[fd]->request
            : NULL;
    if (c && c->armed && !c->gone) {
        c->gone = true;
        if (c->on_gone)
            c->on_gone(&c->rq);
    }
    pthread_mutex_unlock(&watch.lock);
}

/* Bytes have come that we have not read: then it is we who are slow. */
static bool waits_for_us(const struct http_socket *s)
{
    int pending = 0;

    return ioctl(s->fd, FIONREAD, &pending) == 0 && pending > 0;
}

/* Whoever is fast for a while may not be slow for longer later: the time that bytes pay for is only
 * that which has passed. */
static bool falls_behind(struct http_socket *s, uint64_t bytes, uint64_t passed_us,
                         uint32_t grace_ms)
{
    uint64_t paid_us = bytes * 1000000 / LIMIT_PEER_BYTES_PER_S;

    s->behind_us += passed_us;
    s->behind_us -= paid_us < s->behind_us ? paid_us : s->behind_us;
    return s->behind_us > grace_ms * 1000ull;
}

/* Its client has closed in the middle of a body, and all that it sent has been read. libmicrohttpd
 * 0.9.75 does not hear of that when the end came together with the last bytes. */
static bool ended(const struct http_socket *s)
{
    char byte;

    return s->in_body && s->got_bytes == 0 && recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static bool body_too_slow(struct http_socket *s, uint64_t passed_us)
{
    uint64_t bytes = s->got_bytes;

    s->got_bytes = 0;
    return falls_behind(s, bytes, waits_for_us(s) ? 0 : passed_us, LIMIT_BODY_GRACE_MS);
}

/* Bytes that its client has acknowledged, of all answers. Those that it acknowledges and does not
 * read fill its buffer, and are then the last. */
static uint64_t taken(const struct http_socket *s)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    return getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_acked : 0;
}

static bool answer_too_slow(struct http_socket *s, uint64_t passed_us)
{
    uint64_t before = s->taken_bytes;
    int unsent = 0;

    if (s->door->family == AF_UNIX || ioctl(s->fd, SIOCOUTQ, &unsent) != 0 || unsent == 0) {
        s->behind_us = 0; /* it has all that there is, or libmicrohttpd looks after it: http.c */
        return false;
    }
    s->taken_bytes = taken(s);
    if (!falls_behind(s, s->taken_bytes - before, passed_us, LIMIT_ANSWER_GRACE_MS))
        return false;
    /* What it does not take would stay with the kernel after the close. */
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    return true;
}

static bool too_slow(struct http_socket *s, uint64_t now, uint64_t passed_us)
{
    uint64_t ms = (now - s->since_us) / 1000;

    if (s->in_body)
        return body_too_slow(s, passed_us);
    if (s->request)
        return answer_too_slow(s, passed_us);
    return ms > (s->fresh ? LIMIT_HEADER_MS : LIMIT_IDLE_MS) && !waits_for_us(s);
}

/* Shut, not closed: the descriptor is libmicrohttpd's, which sees the end of stream. */
static void reap(uint64_t passed_us)
{
    uint64_t now;
    unsigned shut = 0;

    failpoint("http.reap");
    pthread_mutex_lock(&watch.lock);
    now = clock_us(); /* not before: since_us of a socket answered meanwhile would lie after it */
    for (struct http_socket *s = watch.sockets; s; s = s->next) {
        if (ended(s)) {
            shutdown(s->fd, SHUT_RD); /* says it again, and leaves the way for an answer open */
        } else if (too_slow(s, now, passed_us)) {
            s->behind_us = 0;
            shutdown(s->fd, SHUT_RDWR);
            shut++;
        }
    }
    pthread_mutex_unlock(&watch.lock);
    if (shut == 0)
        return;
    atomic_fetch_add(&http_too_slow, shut);
    log_info("closed %u connections: idle, or too slow in sending a request or taking an answer",
             shut);
}

static void *watch_main(void *arg)
{
    uint64_t last = clock_us();
    bool stopping = false;

    (void)arg;
    pthread_setname_np(pthread_self(), "http-watch");
    while (!stopping) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(watch.epoll, events, BATCH, TICK_MS);

        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == UINT64_MAX)
                stopping = true;
            else
                hung_up(events[i].data.u64);
        }
        /* Not the whole of a pause of ours: clients could do nothing in it. */
        if (clock_us() - last >= TICK_US) {
            uint64_t passed_us = clock_us() - last;

            last += passed_us;
            reap(passed_us < 2 * TICK_US ? passed_us : 2 * TICK_US);
            memory_trim();
        }
    }
    return NULL;
}

int watch_start(struct err *e)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    int rc;

    watch.epoll = epoll_create1(EPOLL_CLOEXEC);
    watch.stop = eventfd(0, EFD_CLOEXEC);
    if (watch.epoll < 0 || watch.stop < 0 ||
        epoll_ctl(watch.epoll, EPOLL_CTL_ADD, watch.stop, &event) != 0)
        return err_sys(e, ERR_internal, errno, "watch connections");
    rc = pthread_create(&watch.thread, NULL, watch_main, NULL);
    return rc == 0 ? 0 : err_sys(e, ERR_internal, rc, "start the watch");
}

void watch_stop(void)
{
    uint64_t one = 1;

    if (write(watch.stop, &one, sizeof one) == sizeof one)
        pthread_join(watch.thread, NULL);
    close(watch.stop);
    close(watch.epoll);
    watch.stop = watch.epoll = -1;
    free(watch.by_fd);
    watch.by_fd = NULL;
    watch.n_by_fd = 0;
}
