/* http_watch.c - one thread that sees clients hang up while their request is suspended
 * (libmicrohttpd does not), and shuts sockets that send no request, or send a body too slowly. */
#include "schema/clock.h"
#include "schema/failpoint.h"
#include "schema/limits.h"
#include "server/http_internal.h"
#include "server/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define TICK_MS 1000

/* watch.lock also holds off the end of a request while its on_gone runs. */
static struct {
    pthread_mutex_t lock;
    pthread_t thread;
    int epoll, stop;
    struct http_socket *sockets;
    struct http_socket **by_fd; /* where events find their socket, if it is still the same one */
    uint32_t n_by_fd, generation;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1, .stop = -1};

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
        s->since_us = clock_us();
        s->got_bytes = 0;
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

static bool too_slow(const struct http_socket *s, uint64_t now)
{
    uint64_t ms = (now - s->since_us) / 1000;

    if (s->in_body)
        return ms > LIMIT_BODY_GRACE_MS &&
               s->got_bytes < (ms - LIMIT_BODY_GRACE_MS) * LIMIT_BODY_BYTES_PER_S / 1000;
    if (s->request)
        return false;
    return ms > (s->fresh ? LIMIT_HEADER_MS : LIMIT_IDLE_MS);
}

/* Shut, not closed: the descriptor is libmicrohttpd's, which sees the end of stream. */
static void reap(void)
{
    uint64_t now;

    failpoint("http.reap");
    pthread_mutex_lock(&watch.lock);
    now = clock_us(); /* not before: since_us of a socket answered meanwhile would lie after it */
    for (struct http_socket *s = watch.sockets; s; s = s->next)
        if (too_slow(s, now) && !waits_for_us(s))
            shutdown(s->fd, SHUT_RDWR);
    pthread_mutex_unlock(&watch.lock);
}

static void *watch_main(void *arg)
{
    uint64_t next = clock_us();
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
        if (clock_us() >= next) {
            reap();
            memory_trim();
            next = clock_us() + TICK_MS * 1000;
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
