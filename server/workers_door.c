/* workers_door.c - who may join: the Unix socket, HELLO, WELCOME or REFUSE. */
#include "server/arena.h"
#include "server/durable.h"
#include "server/fence.h"
#include "server/scheduler.h"
#include "server/workers_door.h"
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

static struct {
    struct entrance way;
    struct sockaddr_un address;
    struct guest *guests; /* of both sockets */
    uint32_t n_guests;    /* of the Unix socket: those over TCP are counted by strangers.c */
    uint64_t last_epoch;
} door = {.way.watch.fd = -1};

void guest_leave(struct guest *g)
{
    core_timer_clear(&g->timer);
    *g->prev = g->next;
    if (g->next)
        g->next->prev = g->prev;
    if (g->address[0])
        stranger_leaves(g->address);
    else
        door.n_guests--;
    peer_close(g->peer);
    if (g->process.pidfd >= 0)
        close(g->process.pidfd);
    free(g);
}

/* For the log: who it is, as far as we know. */
static const char *guest_name(const struct guest *g)
{
    static char name[STRANGER_BYTES + 16];

    if (g->address[0])
        snprintf(name, sizeof name, "from=%s", g->address);
    else if (g->process.pid == 0)
        snprintf(name, sizeof name, "from=elsewhere"); /* another container */
    else
        snprintf(name, sizeof name, "pid=%d", (int)g->process.pid);
    return name;
}

void guest_refuse(struct guest *g, const struct err *why)
{
    log_warn("%s refused as a worker: %s", guest_name(g), why->detail);
    peer_send_frame(g->peer, worker_refusal(ERR_refused, why->detail));
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

int guest_check_build(uint64_t its_schema_hash, const char *its_version, struct err *e)
{
    if (its_schema_hash == schema_hash())
        return 0;
    return err_set(e, ERR_refused,
                   "it is of another build: worker %.31s has schema %016llx, server %s has %016llx",
                   its_version, (unsigned long long)its_schema_hash, TUTTI_VERSION,
                   (unsigned long long)schema_hash());
}

/* The rank that this HELLO may have, or NULL with the reason. */
static struct worker *rank_for(const struct guest *g, const struct frame_hello *h, struct err *e)
{
    struct worker *w;

    if (guest_check_build(h->schema_hash, h->version, e) != 0)
        return NULL;
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

static int put_path(char *to, size_t size, const char *path, struct err *e)
{
    if ((size_t)snprintf(to, size, "%s", path) >= size)
        return err_set(e, ERR_refused, "%s is too long a name to be told to workers", path);
    return 0;
}

/* Over TCP: it is told where the arena and the fence are; on another machine it has an arena of its
 * own, which is of this session. */
static int tell_paths(struct frame_welcome *f, struct err *e)
{
    const struct arena_header *h = (const void *)arena_base(workers.options.arena);

    f->session = workers.session;
    memcpy(f->boot_id, h->boot_id, sizeof f->boot_id);
    if (put_path(f->arena_path, sizeof f->arena_path, arena_path(workers.options.arena), e) != 0)
        return -1;
    return put_path(f->fence_path, sizeof f->fence_path, fence_path(), e);
}

/* Over TCP the kernel does not say whose process it is; on the Unix socket neither, when it is in
 * a process namespace, as of another container, that ours does not contain. */
static bool unseen(const struct guest *g)
{
    return g->process.pidfd < 0;
}

/* From here the process can write to the arena: it is recorded first, and it holds the fence. */
static int hand_over(struct worker *w, struct guest *g, const struct frame *f, struct err *e)
{
    int fds[FRAME_FDS] = {arena_fd(workers.options.arena), -1};

    if ((!unseen(g) && fence_record(w->info.rank, g->process.pid, e) != 0) ||
        fence_pass(&fds[1], e) != 0)
        return -1;
    peer_send_fds(g->peer, f, fds, FRAME_FDS);
    close(fds[1]);
    return 0;
}

static int welcome(struct worker *w, struct guest *g, uint64_t epoch, struct err *e)
{
    static struct frame f; /* large */

    f = (struct frame){.type = FRAME_welcome};
    f.welcome = (struct frame_welcome){
        .rank = w->info.rank,
        .world_size = workers.options.world_size,
        .epoch = epoch,
        .arena_bytes = arena_size(workers.options.arena),
        .heartbeat_ms = LIMIT_HEARTBEAT_MS,
        .by_lock = unseen(g),
        .arena_nonce = arena_nonce(workers.options.arena),
        .one_machine = workers.one_machine,
        .one_host = !workers.options.tcp_host || !workers.options.tcp_host[0],
        .window_bytes = g->address[0] ? 0 : arena_window_bytes(workers.options.arena),
    };
    if (!g->address[0])
        return hand_over(w, g, &f, e);
    if (tell_paths(&f.welcome, e) != 0)
        return -1;
    peer_send_frame(g->peer, &f);
    return 0;
}

static int take_process(struct worker *w, struct guest *g, struct err *e)
{
    if (w->launched || unseen(g))
        return 0; /* it is watched since it was started, or will be when it holds the fence */
    w->process = g->process;
    if (worker_watch_exit(w, e) != 0) {
        w->process = (struct launched){.pidfd = -1};
        return -1;
    }
    g->process.pidfd = -1;
    return 0;
}

void guest_hello(struct guest *g, const struct frame_hello *hello)
{
    uint64_t epoch = next_epoch();
    struct peer *p = g->peer;
    bool tcp = g->address[0] != '\0', by_lock = unseen(g);
    struct worker *w;
    struct err e;

    w = rank_for(g, hello, &e);
    if (!w || welcome(w, g, epoch, &e) != 0 || take_process(w, g, &e) != 0) {
        guest_refuse(g, &e);
        return;
    }
    worker_introduced(w, epoch, tcp, hello);
    p->owner = w;
    p->frame = worker_frame;
    p->lost = worker_unlinked;
    g->peer = NULL;
    if (by_lock) {
        w->process.pid = (pid_t)hello->pid; /* what it says, for those who look; never signalled */
        worker_await_ready(w, p);
        guest_leave(g);
        return;
    }
    guest_leave(g);
    worker_joined(w, p);
}

static void on_hello(struct peer *p, const struct frame *f)
{
    struct err e;

    if (f->type == FRAME_hello) {
        guest_hello(p->owner, &f->hello);
        return;
    }
    err_set(&e, ERR_refused, "its first frame is %s and not hello", frame_type_name(f->type));
    guest_refuse(p->owner, &e);
}

static void guest_lost(struct peer *p, const char *how)
{
    struct guest *g = p->owner;

    log_debug("%s left before HELLO: %s", guest_name(g), how);
    guest_leave(g);
}

static void hello_too_late(struct core_timer *t)
{
    struct guest *g = CORE_OWNER(t, struct guest, timer);
    struct err e;

    err_set(&e, ERR_refused, "no HELLO within %d ms", LIMIT_HELLO_MS);
    guest_refuse(g, &e);
}

/* ---- connect ---- */

/* Only processes of our own user may write to our arena: those that we can see are held by their
 * pidfd, so that they can be killed; others by their lock on the fence. */
static int who_is_it(int fd, struct launched *out, struct err *e)
{
    struct ucred who;
    socklen_t size = sizeof who;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
        return err_sys(e, ERR_link, errno, "ask who connects");
    if (who.uid != geteuid())
        return err_set(e, ERR_refused, "it runs as user %u and the server as user %u",
                       (unsigned)who.uid, (unsigned)geteuid());
    return who.pid == 0 ? 0 : launch_adopt(out, who.pid, e);
}

struct guest *guest_come(int fd, const struct launched *process, const char *address,
                         void (*frame)(struct peer *p, const struct frame *f))
{
    struct guest *g = calloc(1, sizeof *g);
    struct err e;

    if (!g) {
        close(fd);
        return NULL;
    }
    g->process.pidfd = -1;
    snprintf(g->address, sizeof g->address, "%s", address);
    g->peer = peer_open(fd, &e);
    if (!g->peer) {
        log_warn("a worker's connection is not accepted: %s", e.detail);
        free(g);
        return NULL;
    }
    g->process = *process;
    g->next = door.guests;
    g->prev = &door.guests;
    if (g->next)
        g->next->prev = &g->next;
    door.guests = g;
    g->peer->owner = g;
    g->peer->frame = frame;
    g->peer->lost = guest_lost;
    g->timer.fire = hello_too_late;
    core_timer_set(&g->timer, clock_us() + LIMIT_HELLO_MS * 1000ull);
    return g;
}

static void greet(int fd)
{
    struct launched process = {.pidfd = -1};
    struct err e;

    if (door.n_guests >= GUESTS_MAX) {
        close(fd);
        return;
    }
    if (who_is_it(fd, &process, &e) != 0) {
        log_warn("a worker's connection is not accepted: %s", e.detail);
        close(fd);
        return;
    }
    if (guest_come(fd, &process, "", on_hello))
        door.n_guests++;
    else
        close(process.pidfd);
}

static void accept_again(struct core_timer *t)
{
    core_watch_set(&CORE_OWNER(t, struct entrance, again)->watch, EPOLLIN);
}

static void on_connect(struct core_watch *watch, uint32_t events)
{
    struct entrance *way = CORE_OWNER(watch, struct entrance, watch);

    (void)events;
    for (;;) {
        int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            way->greet(fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            log_error("accept a worker: %s", strerror(errno));
            core_watch_set(watch, 0); /* no descriptor: a loop would not find one sooner */
            way->again.fire = accept_again;
            core_timer_set(&way->again, clock_us() + PAUSE_US);
            return;
        }
    }
}

int entrance_open(struct entrance *way, int fd, void (*greet_one)(int fd), struct err *e)
{
    *way = (struct entrance){.watch = {.ready = on_connect, .fd = fd}, .greet = greet_one};
    if (listen(fd, LIMIT_RANKS) != 0)
        err_sys(e, ERR_link, errno, "listen for workers");
    else if (core_watch_add(&way->watch, EPOLLIN, e) == 0)
        return 0;
    close(fd);
    way->watch.fd = -1;
    return -1;
}

void entrance_close(struct entrance *way)
{
    if (way->watch.fd < 0)
        return;
    core_timer_clear(&way->again);
    core_watch_remove(&way->watch);
    close(way->watch.fd);
    way->watch.fd = -1;
}

static int bind_path(int fd, const char *path, struct err *e)
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
    if (fchmod(fd, 0600) != 0 ||
        bind(fd, (struct sockaddr *)&door.address, sizeof door.address) != 0)
        return err_sys(e, ERR_link, errno, "listen for workers on %s", path);
    return 0;
}

int workers_listen(const char *address, struct err *e)
{
    int fd;

    workers.session = next_epoch();

    if (strncmp(address, "unix:", 5) != 0)
        return err_set(e, ERR_option, "--worker-listen %s: write unix:PATH", address);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(e, ERR_link, errno, "make a socket for workers");
    if (bind_path(fd, address + 5, e) != 0) {
        close(fd);
        return -1;
    }
    return entrance_open(&door.way, fd, greet, e);
}

void workers_unlisten(void)
{
    if (door.way.watch.fd >= 0)
        unlink(door.address.sun_path);
    entrance_close(&door.way);
    while (door.guests)
        guest_leave(door.guests);
}
