/* workers_tcp.c - workers that come over TCP: who they are is proved, not seen; and the fence,
 * which cannot be handed to them, is theirs to take.
 */
#include "server/fence.h"
#include "server/proof.h"
#include "server/workers_door.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct entrance way = {.watch.fd = -1};

/* ---- who comes ---- */

/* It is no worker, but carries the tensors of one's host. */
static void attach(struct guest *g, uint64_t epoch)
{
    int fd = peer_release(g->peer);
    struct err e;

    g->peer = NULL;
    if (fd >= 0 && worker_attaches(epoch, fd, &e) != 0) {
        log_warn("from=%s refused as a data channel: %s", g->address, e.detail);
        close(fd);
    }
    guest_leave(g);
}

static void on_auth(struct peer *p, const struct frame *f)
{
    static struct frame answer; /* large */
    struct guest *g = p->owner;
    struct err e;

    answer = (struct frame){.type = FRAME_proof, .proof.n_proof = HANDSHAKE_BYTES};
    if (f->type != FRAME_auth || !proof_check(f, g->nonce, answer.proof.proof)) {
        stranger_was_wrong(g->address, clock_us());
        err_set(&e, ERR_refused,
                "it does not prove that it has a worker's token of this server: see --token-file");
        guest_refuse(g, &e);
        return;
    }
    peer_send_frame(p, &answer);
    if (guest_check_build(f->auth.schema_hash, f->auth.version, &e) != 0) {
        guest_refuse(g, &e);
        return;
    }
    p->reader.most = LIMIT_FRAME_BYTES;
    if (frame_decode(f->auth.hello, f->auth.n_hello, &answer, &e) != (long)f->auth.n_hello ||
        (answer.type != FRAME_hello && answer.type != FRAME_attach)) {
        err_set(&e, ERR_refused, "what it sent as its HELLO is none");
        guest_refuse(g, &e);
        return;
    }
    if (answer.type == FRAME_attach)
        attach(g, answer.attach.epoch);
    else
        guest_hello(g, &answer.hello);
}

/* The machine at the other end may go without a word: what is not acknowledged for so long ends the
 * connection, and small frames are not held back. */
static void set_tcp(int fd)
{
    int on = 1;
    unsigned silent_ms = LIMIT_TCP_SILENT_MS;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms, sizeof silent_ms);
}

/* Is it on the loopback, where nobody comes from another machine? */
static bool is_loopback(const struct sockaddr *at)
{
    if (at->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)at)->sin_addr.s_addr) >> 24 == 127;
    return at->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)at)->sin6_addr);
}

static int name_of(int fd, char out[STRANGER_BYTES])
{
    struct sockaddr_storage from;
    socklen_t size = sizeof from;

    if (getpeername(fd, (struct sockaddr *)&from, &size) != 0)
        return -1; /* gone already */
    return getnameinfo((struct sockaddr *)&from, size, out, STRANGER_BYTES, NULL, 0,
                       NI_NUMERICHOST);
}

/* A frame that is small, on a connection that is new: it fits, or nobody reads it. */
static void turn_away(int fd, const struct err *why)
{
    struct err e;

    frame_send(fd, worker_refusal(ERR_refused, why->detail), NULL, 0, 0, &e);
    close(fd);
}

static void greet(int fd)
{
    static const struct launched none = {.pidfd = -1};
    static struct frame f; /* large */
    char address[STRANGER_BYTES];
    uint8_t nonce[HANDSHAKE_BYTES];
    struct guest *g;
    struct err e;

    if (name_of(fd, address) != 0) {
        close(fd);
        return;
    }
    if (stranger_comes(address, clock_us(), &e) != 0) {
        turn_away(fd, &e);
        return;
    }
    set_tcp(fd);
    g = proof_nonce(nonce, &e) == 0 ? guest_come(fd, &none, address, on_auth) : (close(fd), NULL);
    if (!g) {
        stranger_leaves(address);
        return;
    }
    memcpy(g->nonce, nonce, sizeof nonce);
    g->peer->reader.most = LIMIT_AUTH_BYTES;
    f = (struct frame){.type = FRAME_challenge, .challenge.n_nonce = HANDSHAKE_BYTES};
    memcpy(f.challenge.nonce, nonce, sizeof nonce);
    peer_send_frame(g->peer, &f);
}

/* ---- who has come ---- */

static void beat(struct core_timer *t)
{
    struct worker *w = CORE_OWNER(t, struct worker, say);
    static struct frame f; /* large */

    f = (struct frame){.type = FRAME_heartbeat, .heartbeat.epoch = w->info.epoch};
    if (w->peer->out_end == w->peer->out_start) /* else it hears enough */
        peer_send_frame(w->peer, &f);
    core_timer_set(t, clock_us() + LIMIT_HEARTBEAT_MS * 1000ull);
}

/* Its lock names its process, whatever it says itself; where it does, it is held as the others are.
 * The lock is looked at again, so that a pid which is reused meanwhile is nobody's. */
static int hold_process(struct worker *w, pid_t pid, struct err *e)
{
    struct launched process = {.pidfd = -1};
    pid_t again;

    if (pid == 0 || launch_adopt(&process, pid, e) != 0)
        return 0;
    if (!fence_held(w->info.epoch, &again) || again != pid) {
        close(process.pidfd);
        return 0;
    }
    w->process = process;
    if (worker_watch_exit(w, e) != 0) {
        close(process.pidfd);
        w->process.pidfd = -1;
        return -1;
    }
    return fence_record(w->info.rank, pid, e);
}

static void on_ready(struct peer *p, const struct frame *f)
{
    struct worker *w = p->owner;
    pid_t pid;
    struct err e;

    if (workers.stopping)
        return;
    if (f->type != FRAME_ready || f->ready.epoch != w->info.epoch) {
        worker_lose(w, "it was to say that it is ready");
    } else if (f->ready.detail[0]) {
        err_set(&e, ERR_refused, "%s", f->ready.detail);
        worker_lose(w, e.detail);
    } else if (f->ready.arena_nonce != arena_nonce(workers.options.arena)) {
        if (worker_settles(w, &f->ready, &e) != 0) {
            peer_send_frame(p, worker_refusal(e.code, e.detail));
            worker_unlinked(p, e.detail);
            return;
        }
        p->frame = worker_frame;
        worker_joined(w, p);
    } else if (!fence_held(w->info.epoch, &pid)) {
        worker_lose(w, "it does not hold the fence");
    } else if (hold_process(w, pid, &e) != 0) {
        worker_lose(w, e.detail);
    } else {
        p->frame = worker_frame;
        worker_joined(w, p);
    }
}

void worker_await_ready(struct worker *w, struct peer *p)
{
    p->frame = on_ready;
    worker_expected(w, p);
    w->say.fire = beat;
    core_timer_set(&w->say, clock_us() + LIMIT_HEARTBEAT_MS * 1000ull);
}

/* ---- the socket ---- */

static int bind_one(const struct addrinfo *at)
{
    int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, at->ai_addr, at->ai_addrlen) == 0)
        return fd;
    on = errno;
    close(fd);
    errno = on;
    return -1;
}

/* Which port it became, for those who asked for any. */
static void say_where(int fd, const char *host)
{
    const char *left = strchr(host, ':') ? "[" : "", *right = *left ? "]" : "";
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    char port[16] = "?";

    if (getsockname(fd, (struct sockaddr *)&at, &size) == 0)
        getnameinfo((struct sockaddr *)&at, size, NULL, 0, port, sizeof port, NI_NUMERICSERV);
    log_info("workers with a token connect to %s%s%s:%s", left, host, right, port);
}

int workers_listen_tcp(const char *host, uint16_t port, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    char service[8];
    int fd, rc;

    workers.one_machine = true;
    if (!host || !*host)
        return 0;
    snprintf(service, sizeof service, "%u", port);
    rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        return err_set(e, ERR_option, "--worker-listen %s: %s", host, gai_strerror(rc));
    workers.one_machine = is_loopback(found->ai_addr);
    fd = bind_one(found);
    rc = errno;
    freeaddrinfo(found);
    if (fd < 0)
        return err_sys(e, ERR_link, rc, "listen for workers on %s:%u", host, port);
    if (entrance_open(&way, fd, greet, e) != 0)
        return -1;
    say_where(fd, host);
    return 0;
}

void workers_unlisten_tcp(void)
{
    entrance_close(&way);
}
