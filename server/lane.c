/* lane.c - clients of the lane: accepted, heard, answered, and what they leave behind. */
#include "server/lane.h"
#include "schema/clock.h"
#include "schema/frame.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "server/lane_line.h"
#include "server/socket_file.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAUSE_MS 1000 /* no descriptor left: accept again after that */
#define FIRST 2       /* polls before the clients' */

struct client {
    struct client *next;
    int fd;
    bool leaves;
    uint64_t by_us; /* clock_us() at which it has to have a region */
    uint32_t n;
    struct region *regions[LIMIT_REGIONS_CLIENT];
    uint32_t n_held, room;
    struct tensor **held;
    size_t got;
    char line[LIMIT_LANE_LINE_BYTES];
};

/* The thread's, but for what is said. */
static struct {
    struct socket_file file; /* main: set before and after */
    pthread_t thread;
    int door, wake;
    bool full; /* no descriptor was left */
    atomic_bool stop;
    struct client *clients;
    uint32_t n;
    struct pollfd polls[FIRST + LIMIT_LANE_CLIENTS];
} lane = {.door = -1, .wake = -1};

const char *lane_path(void)
{
    return lane.door >= 0 ? lane.file.at.sun_path : NULL;
}

/* ---- answers ---- */

/* A client that does not read its answers leaves: nobody waits for it. */
static void answer(struct client *c, struct text *t, int fd)
{
    _Alignas(struct cmsghdr) char control[FRAME_CONTROL_BYTES];
    struct iovec piece = {.iov_base = t->data, .iov_len = t->len};
    struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};

    if (fd >= 0)
        frame_attach(&msg, control, &fd, 1);
    if (t->failed || sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)t->len)
        c->leaves = true;
    text_fini(t);
}

static void refuse(struct client *c, const struct err *why)
{
    struct text t;

    text_init(&t);
    lane_line_refused(&t, why);
    answer(c, &t, -1);
}

/* ---- requests ---- */

/* Where nobody is asked for a token, the socket's owner is: accept_one has looked. */
static int find_owner(const struct lane_line *line, struct account **out, struct err *e)
{
    struct visitor who;

    *out = account_everybody();
    if (!tokens_wanted())
        return 0;
    if (tokens_find(line->token, &who, e) != 0)
        return -1;
    if (who.role == ROLE_read)
        return err_set(e, ERR_forbidden, "a token of the role read may only look");
    *out = who.account;
    return 0;
}

static int open_region(struct client *c, const struct lane_line *line, struct err *e)
{
    struct account *owner;
    struct region *r;
    struct text t;
    int fd;

    if (find_owner(line, &owner, e) != 0) {
        c->leaves = true;
        return -1;
    }
    if (c->n == LIMIT_REGIONS_CLIENT)
        return err_set(e, ERR_arena_full, "a connection has at most %d regions",
                       LIMIT_REGIONS_CLIENT);
    if (region_make(line->kind, owner, line->size_bytes, &r, &fd, e) != 0)
        return -1;
    c->regions[c->n++] = r;
    text_init(&t);
    lane_line_opened(&t, r);
    answer(c, &t, fd);
    close(fd);
    return 0;
}

static bool lies_in(const struct tensor *t, const void *region)
{
    return region_of(t->extent) == region;
}

/* Results that its client cannot see any more would keep all of it for as long as they are kept. */
static void close_one(struct region *r)
{
    region_leave(r);
    if (r->kind == REGION_results && region_is_used(r))
        tensor_expire_all(lies_in, r, clock_wall_us() + LIMIT_REGION_LEFT_S * 1000000ull);
    region_unref(r);
}

static void answer_over(struct client *c)
{
    struct text t;

    text_init(&t);
    lane_line_over(&t);
    answer(c, &t, -1);
}

static int close_region(struct client *c, const struct lane_line *line, struct err *e)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!id_equal(&c->regions[i]->id, &line->id))
            continue;
        close_one(c->regions[i]);
        c->regions[i] = c->regions[--c->n];
        answer_over(c);
        return 0;
    }
    return err_set(e, ERR_region_unknown, "this connection has no such region");
}

static bool has_region(const struct client *c, const struct region *r)
{
    for (uint32_t i = 0; r && i < c->n; i++) {
        if (c->regions[i] == r)
            return true;
    }
    return false;
}

static int grow(struct client *c, struct err *e)
{
    uint32_t room = c->room ? 2 * c->room : 16;
    struct tensor **held;

    if (c->n_held < c->room)
        return 0;
    if (c->room >= LIMIT_LANE_HELD)
        return err_set(e, ERR_arena_full, "a connection holds at most %d tensors", LIMIT_LANE_HELD);
    held = realloc(c->held, room * sizeof(struct tensor *));
    if (!held)
        return err_set(e, ERR_no_memory, "tensors that are held");
    c->held = held;
    c->room = room;
    return 0;
}

/* What lies in a region of its own it may look at in any case: so no other question is asked. */
static int hold(struct client *c, const struct lane_line *line, struct err *e)
{
    struct tensor *tensor = tensor_find(&line->id);
    struct text t;

    if (!tensor || !has_region(c, region_of(tensor->extent)))
        err_set(e, ERR_tensor_unknown, "no such tensor lies in a region of this connection");
    else if (grow(c, e) == 0) {
        c->held[c->n_held++] = tensor;
        text_init(&t);
        lane_line_held(&t, tensor);
        answer(c, &t, -1);
        return 0;
    }
    tensor_unref(tensor);
    return -1;
}

static int let_go(struct client *c, const struct lane_line *line, struct err *e)
{
    for (uint32_t i = 0; i < c->n_held; i++) {
        if (!id_equal(&c->held[i]->id, &line->id))
            continue;
        tensor_unref(c->held[i]);
        c->held[i] = c->held[--c->n_held];
        answer_over(c);
        return 0;
    }
    return err_set(e, ERR_tensor_unknown, "this connection does not hold that tensor");
}

static void serve_line(struct client *c, const char *text, size_t len)
{
    static int (*const verbs[])(struct client * c, const struct lane_line *line, struct err *e) = {
        [LANE_open] = open_region,
        [LANE_close] = close_region,
        [LANE_hold] = hold,
        [LANE_release] = let_go,
    };
    struct lane_line line;
    struct err e;

    if (lane_line_read(text, len, &line, &e) != 0 || verbs[line.verb](c, &line, &e) != 0)
        refuse(c, &e);
    explicit_bzero(&line, sizeof line);
}

/* Its lines, one after another; what is no line yet stays. */
static void hear(struct client *c)
{
    ssize_t n = recv(c->fd, c->line + c->got, sizeof c->line - c->got, MSG_DONTWAIT);
    char *end;

    if (n <= 0) {
        c->leaves = n == 0 || (errno != EAGAIN && errno != EINTR);
        return;
    }
    c->got += (size_t)n;
    while (!c->leaves && (end = memchr(c->line, '\n', c->got))) {
        size_t len = (size_t)(end - c->line);

        serve_line(c, c->line, len);
        c->got -= len + 1;
        memmove(c->line, end + 1, c->got);
    }
    if (c->got == sizeof c->line && !c->leaves) {
        struct err e;

        err_set(&e, ERR_bad_json, "a line has at most %d bytes", LIMIT_LANE_LINE_BYTES);
        refuse(c, &e);
        c->leaves = true;
    }
}

/* ---- clients ---- */

static void client_free(struct client *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        close_one(c->regions[i]);
    for (uint32_t i = 0; i < c->n_held; i++)
        tensor_unref(c->held[i]);
    free(c->held);
    close(c->fd);
    free(c);
    lane.n--;
}

static void send_away(bool all)
{
    for (struct client **at = &lane.clients; *at;) {
        struct client *c = *at;

        if (all || c->leaves) {
            *at = c->next;
            client_free(c);
        } else {
            at = &c->next;
        }
    }
}

/* Who may have memory here? With tokens that is asked line by line. */
static bool is_ours(int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;

    if (tokens_wanted())
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.uid == geteuid())
        return true;
    log_warn("lane: a client of user %u is sent away: without tokens only user %u has a lane",
             (unsigned)who.uid, (unsigned)geteuid());
    return false;
}

/* Whoever would have to wait for others to leave is told so: there is HTTP. */
static void send_off(int fd)
{
    struct client c = {.fd = fd};
    struct err e;

    err_set(&e, ERR_overloaded, "the lane has %d connections already: send the tensors themselves",
            LIMIT_LANE_CLIENTS);
    refuse(&c, &e);
    close(fd);
}

static void accept_one(void)
{
    int fd = accept4(lane.door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *c;

    if (fd < 0) {
        lane.full = errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
        if (lane.full)
            log_error("lane: accept: %s", strerror(errno));
        return;
    }
    if (lane.n == LIMIT_LANE_CLIENTS) {
        send_off(fd);
        return;
    }
    c = is_ours(fd) ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    c->fd = fd;
    c->by_us = clock_us() + LIMIT_LANE_MS * 1000ull;
    c->next = lane.clients;
    lane.clients = c;
    lane.n++;
}

/* Milliseconds until somebody who has no region has to leave, or until a descriptor may be free;
 * -1: nothing to wait for. Those whose time is over leave. */
static int patience(void)
{
    uint64_t now = clock_us(), least = lane.full ? PAUSE_MS * 1000 : UINT64_MAX;

    for (struct client *c = lane.clients; c; c = c->next) {
        if (c->n > 0)
            continue;
        c->leaves |= c->by_us <= now;
        if (!c->leaves && c->by_us - now < least)
            least = c->by_us - now;
    }
    return least == UINT64_MAX ? -1 : (int)(least / 1000) + 1;
}

static void turn(void)
{
    int wait_ms = patience();
    struct client *c;
    uint64_t count;
    nfds_t n = FIRST;

    send_away(false);
    lane.polls[0] = (struct pollfd){.fd = lane.wake, .events = POLLIN};
    lane.polls[1] = (struct pollfd){.fd = lane.full ? -1 : lane.door, .events = POLLIN};
    for (c = lane.clients; c; c = c->next)
        lane.polls[n++] = (struct pollfd){.fd = c->fd, .events = POLLIN};
    poll(lane.polls, n, wait_ms);
    lane.full = false;
    if (lane.polls[0].revents && read(lane.wake, &count, sizeof count) > 0)
        regions_sweep();
    n = FIRST;
    for (c = lane.clients; c; c = c->next) {
        if (lane.polls[n++].revents)
            hear(c);
    }
    if (lane.polls[1].revents)
        accept_one();
    send_away(false);
}

static void *lane_main(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "lane");
    while (!atomic_load(&lane.stop))
        turn();
    send_away(true);
    return NULL;
}

/* ---- start and stop ---- */

static void wake(void)
{
    uint64_t one = 1;

    if (write(lane.wake, &one, sizeof one) < 0) {
        /* EAGAIN at 2^64-1 writes: the event is set all the same. */
    }
}

/* Of the server's user alone, with tokens too: what a client keeps of a closed region is not
 * counted, and would be another user's way past the quotas (SECURITY.md). */
static int listen_at(int fd, const char *path, struct err *e)
{
    if (socket_file_bind(&lane.file, fd, path, 0600, e) != 0)
        return -1;
    if (listen(fd, LIMIT_LANE_CLIENTS) != 0)
        return err_sys(e, ERR_link, errno, "--lane: listen on %s", path);
    return 0;
}

int lane_start(const char *path, struct err *e)
{
    int fd, rc;

    if (!path[0])
        return 0;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(e, ERR_link, errno, "make a socket for the lane");
    lane.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_store(&lane.stop, false);
    if (lane.wake < 0) {
        err_sys(e, ERR_internal, errno, "make an eventfd");
        goto fail;
    }
    if (listen_at(fd, path, e) != 0)
        goto fail;
    lane.door = fd;
    regions_swept_by(wake);
    rc = pthread_create(&lane.thread, NULL, lane_main, NULL);
    if (rc == 0) {
        log_info("clients of this machine share memory by %s", path);
        return 0;
    }
    regions_swept_by(NULL);
    lane.door = -1;
    err_sys(e, ERR_internal, rc, "start the lane's thread");
fail:
    socket_file_remove(&lane.file);
    close(fd);
    if (lane.wake >= 0)
        close(lane.wake);
    lane.wake = -1;
    return -1;
}

void lane_stop(void)
{
    if (lane.door < 0)
        return;
    atomic_store(&lane.stop, true);
    wake();
    pthread_join(lane.thread, NULL);
    regions_swept_by(NULL);
    close(lane.door);
    socket_file_remove(&lane.file);
    close(lane.wake);
    lane.door = lane.wake = -1;
}
