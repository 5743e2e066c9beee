/* workers_door.c - who may join: the listening socket, HELLO, WELCOME or REFUSE; then what workers
 * say. */
#include "server/arena.h"
#include "server/durable.h"
#include "server/fence.h"
#include "server/scheduler.h"
#include "server/workers_parts.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define GUESTS_MAX (2 * LIMIT_RANKS)
#define PAUSE_US 1000000 /* no descriptor left: accept again after that */

/* A connection without HELLO. */
struct guest {
    struct peer *peer;
    struct launched process; /* adopted, so that it can be fenced */
    struct core_timer timer;
    struct guest *next, **prev;
};

static struct {
    struct core_watch watch;
    struct core_timer again;
    struct sockaddr_un address;
    struct guest *guests;
    uint32_t n_guests;
    uint64_t last_epoch;
} door = {.watch.fd = -1};

/* Frees the guest; its peer and its process are the caller's by now, or closed here. */
static void guest_leave(struct guest *g)
{
    core_timer_clear(&g->timer);
    *g->prev = g->next;
    if (g->next)
        g->next->prev = g->prev;
    door.n_guests--;
    peer_close(g->peer);
    if (g->process.pidfd >= 0)
        close(g->process.pidfd);
    free(g);
}

static void refuse(struct guest *g, const struct err *why)
{
    static struct frame f; /* large */

    log_warn("pid=%d refused as a worker: %s", (int)g->process.pid, why->detail);
    f = (struct frame){.type = FRAME_refuse};
    snprintf(f.refuse.code, sizeof f.refuse.code, "%s", err_name(ERR_refused));
    snprintf(f.refuse.detail, sizeof f.refuse.detail, "%s", why->detail);
    peer_send_frame(g->peer, &f);
    guest_leave(g);
}

static struct worker *free_rank(void)
{
    for (uint32_t r = 0; r < workers.options.world_size; r++) {
        if (!workers.rank[r].launched && workers.rank[r].info.state == WORKER_absent)
            return &workers.rank[r];
    }
    return NULL;
}

/* The rank that this HELLO may have, or NULL with the reason. */
static struct worker *rank_for(const struct guest *g, const struct frame_hello *h, struct err *e)
{
    struct worker *w;

    if (h->schema_hash != schema_hash()) {
        err_set(e, ERR_refused,
                "it is of another build: worker %.31s has schema %016llx, server %s has %016llx",
                h->version, (unsigned long long)h->schema_hash, TUTTI_VERSION,
                (unsigned long long)schema_hash());
        return NULL;
    }
    if (durable && strcmp(h->device, "cpu") != 0) {
        err_set(e, ERR_refused, "the server is durable, and what a GPU writes cannot be flushed");
        return NULL;
    }
    if (h->rank != FRAME_ANY_RANK && h->rank >= workers.options.world_size) {
        err_set(e, ERR_refused, "rank %u is outside the world of %u ranks", h->rank,
                workers.options.world_size);
        return NULL;
    }
    w = h->rank == FRAME_ANY_RANK ? free_rank() : &workers.rank[h->rank];
    if (!w)
        err_set(e, ERR_refused,
                "every rank is held or will be held by a worker of the server's own");
    else if (w->launched && (w->info.state != WORKER_starting || w->process.pid != g->process.pid))
        err_set(e, ERR_refused, "rank %u belongs to a worker that the server starts itself",
                h->rank);
    else if (!w->launched && w->info.state != WORKER_absent)
        err_set(e, ERR_refused, "rank %u is held by process %u (%s)", w->info.rank, w->info.pid,
                worker_state_name(w->info.state));
    else
        return w;
    return NULL;
}

static uint64_t next_epoch(void)
{
    uint64_t wall = clock_wall_us(); /* so that it grows over restarts, too */

    door.last_epoch = wall > door.last_epoch ? wall : door.last_epoch + 1;
    return door.last_epoch;
}

/* From here the process can write to the arena: it is recorded first, and it holds the fence. */
static int welcome(struct worker *w, struct peer *p, pid_t pid, uint64_t epoch, struct err *e)
{
    static struct frame f; /* large */
    int fds[FRAME_FDS] = {arena_fd(workers.options.arena), -1};

    if (fence_record(w->info.rank, pid, e) != 0 || fence_pass(&fds[1], e) != 0)
        return -1;
    f = (struct frame){.type = FRAME_welcome};
    f.welcome = (struct frame_welcome){
        .rank = w->info.rank,
        .world_size = workers.options.world_size,
        .epoch = epoch,
        .arena_bytes = arena_size(workers.options.arena),
        .heartbeat_ms = LIMIT_HEARTBEAT_MS,
    };
    peer_send_fds(p, &f, fds, FRAME_FDS);
    close(fds[1]);
    return 0;
}

static int take_process(struct worker *w, struct guest *g, struct err *e)
{
    if (w->launched)
        return 0; /* it is watched since it was started */
    w->process = g->process;
    if (worker_watch_exit(w, e) != 0) {
        w->process = (struct launched){.pidfd = -1};
        return -1;
    }
    g->process.pidfd = -1;
    return 0;
}

static void on_hello(struct peer *p, const struct frame *f)
{
    struct guest *g = p->owner;
    uint64_t epoch = next_epoch();
    struct worker *w = NULL;
    struct err e;

    if (f->type != FRAME_hello)
        err_set(&e, ERR_refused, "its first frame is %s and not hello", frame_type_name(f->type));
    else
        w = rank_for(g, &f->hello, &e);
    if (!w || welcome(w, p, g->process.pid, epoch, &e) != 0 || take_process(w, g, &e) != 0) {
        refuse(g, &e);
        return;
    }
    worker_introduced(w, epoch, &f->hello);
    p->owner = w;
    p->frame = worker_frame;
    p->lost = worker_unlinked;
    g->peer = NULL;
    guest_leave(g);
    log_info("rank=%u joined pid=%d device=%s epoch=%llu", w->info.rank, (int)w->process.pid,
             w->info.device, (unsigned long long)epoch);
    worker_joined(w, p);
    scheduler_next();
}

static void guest_lost(struct peer *p, const char *how)
{
    struct guest *g = p->owner;

    log_debug("pid=%d left before HELLO: %s", (int)g->process.pid, how);
    guest_leave(g);
}

static void hello_too_late(struct core_timer *t)
{
    struct guest *g = CORE_OWNER(t, struct guest, timer);
    struct err e;

    err_set(&e, ERR_refused, "no HELLO within %d ms", LIMIT_HELLO_MS);
    refuse(g, &e);
}

/* ---- connect ---- */

/* Only processes of our own user, which we can see and kill, may write to our arena. */
static int who_is_it(int fd, struct launched *out, struct err *e)
{
    struct ucred who;
    socklen_t size = sizeof who;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
        return err_sys(e, ERR_link, errno, "ask who connects");
    if (who.uid != geteuid())
        return err_set(e, ERR_refused, "it runs as user %u and the server as user %u",
                       (unsigned)who.uid, (unsigned)geteuid());
    return launch_adopt(out, who.pid, e);
}

static void greet(int fd)
{
    struct guest *g = door.n_guests < GUESTS_MAX ? calloc(1, sizeof *g) : NULL;
    struct err e;

    if (!g) {
        close(fd);
        return;
    }
    g->process.pidfd = -1;
    if (who_is_it(fd, &g->process, &e) != 0) {
        log_warn("a worker's connection is not accepted: %s", e.detail);
        close(fd);
        free(g);
        return;
    }
    g->next = door.guests;
    g->prev = &door.guests;
    if (g->next)
        g->next->prev = &g->next;
    door.guests = g;
    door.n_guests++;
    g->peer = peer_open(fd, &e);
    if (!g->peer) {
        log_warn("a worker's connection is not accepted: %s", e.detail);
        guest_leave(g);
        return;
    }
    g->peer->owner = g;
    g->peer->frame = on_hello;
    g->peer->lost = guest_lost;
    g->timer.fire = hello_too_late;
    core_timer_set(&g->timer, clock_us() + LIMIT_HELLO_MS * 1000ull);
}

static void accept_again(struct core_timer *t)
{
    (void)t;
    core_watch_set(&door.watch, EPOLLIN);
}

static void on_connect(struct core_watch *watch, uint32_t events)
{
    (void)events;
    for (;;) {
        int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            greet(fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            log_error("accept a worker: %s", strerror(errno));
            core_watch_set(watch, 0); /* no descriptor: a loop would not find one sooner */
            door.again.fire = accept_again;
            core_timer_set(&door.again, clock_us() + PAUSE_US);
            return;
        }
    }
}

static int bind_path(const char *path, struct err *e)
{
    struct stat s;

    door.address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof door.address.sun_path)
        return err_set(e, ERR_option,
                       "--worker-listen unix:%s is longer than the %zu bytes of a socket's name",
                       path, sizeof door.address.sun_path - 1);
    strcpy(door.address.sun_path, path);
    if (lstat(path, &s) == 0 && S_ISSOCK(s.st_mode))
        unlink(path); /* of a server before us: the data directory is ours alone */
    /* The mode is taken from the socket at bind: nobody else may connect, at no time. */
    if (fchmod(door.watch.fd, 0600) != 0 ||
        bind(door.watch.fd, (struct sockaddr *)&door.address, sizeof door.address) != 0 ||
        listen(door.watch.fd, LIMIT_RANKS) != 0)
        return err_sys(e, ERR_link, errno, "listen for workers on %s", path);
    return 0;
}

int workers_listen(const char *address, struct err *e)
{
    if (strncmp(address, "unix:", 5) != 0)
        return err_set(e, ERR_option, "--worker-listen %s: write unix:PATH", address);
    door.watch = (struct core_watch){.ready = on_connect};
    door.watch.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (door.watch.fd < 0)
        return err_sys(e, ERR_link, errno, "make a socket for workers");
    if (bind_path(address + 5, e) != 0 || core_watch_add(&door.watch, EPOLLIN, e) != 0) {
        close(door.watch.fd);
        door.watch.fd = -1;
        return -1;
    }
    return 0;
}

void workers_unlisten(void)
{
    if (door.watch.fd < 0)
        return;
    core_timer_clear(&door.again);
    core_watch_remove(&door.watch);
    close(door.watch.fd);
    door.watch.fd = -1;
    unlink(door.address.sun_path);
    while (door.guests)
        guest_leave(door.guests);
}
