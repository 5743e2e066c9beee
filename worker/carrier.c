/* carrier.c - a thread that takes chunks into the host's arena, and gives them out of it. */
#include "worker/carrier.h"
#include "schema/chunk.h"
#include "schema/clock.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "worker/arena_map.h"
#include "worker/arena_own.h"
#include "worker/dial.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define AGAIN_MS 100 /* before the next connection; then twice as long, and so on, up to */
#define AGAIN_MAX_MS 3200
#define STEADY_US 5000000 /* one that lasted so long is followed soon */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool carries, stops; /* under lock */
    int fd;              /* of the connection, -1: none; under lock */
    bool started;        /* main thread */
    pthread_t thread;
    uint64_t epoch;
    const struct token_key *key;
} carrier = {.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER, .fd = -1};

/* ---- answers ---- */

static int send_all(int fd, const uint8_t *head, const uint8_t *body, size_t n, struct err *e)
{
    struct iovec part[2] = {{.iov_base = (uint8_t *)(uintptr_t)head, .iov_len = CHUNK_HEAD_BYTES},
                            {.iov_base = (uint8_t *)(uintptr_t)body, .iov_len = n}};
    struct msghdr m = {.msg_iov = part, .msg_iovlen = n ? 2 : 1};

    while (m.msg_iovlen > 0) {
        ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return err_sys(e, ERR_link, errno, "send a chunk");
        while (m.msg_iovlen > 0 && (size_t)sent >= m.msg_iov->iov_len) {
            sent -= (ssize_t)m.msg_iov->iov_len;
            m.msg_iov++;
            m.msg_iovlen--;
        }
        if (m.msg_iovlen > 0) {
            m.msg_iov->iov_base = (uint8_t *)m.msg_iov->iov_base + sent;
            m.msg_iov->iov_len -= (size_t)sent;
        }
    }
    return 0;
}

static int say(int fd, const struct chunk *c, const uint8_t *body, struct err *e)
{
    uint8_t head[CHUNK_HEAD_BYTES];

    chunk_encode(c, head);
    return send_all(fd, head, body, chunk_body_bytes(c), e);
}

static int ack(int fd, const struct chunk *of, enum chunk_answer answer, struct err *e)
{
    struct chunk c = {
        .kind = CHUNK_ACK, .answer = answer, .offset = of->offset, .bytes = of->bytes};

    return say(fd, &c, NULL, e);
}

/* ---- questions ---- */

/* What does not fit is read all the same: the next head stands behind it. */
static int take_body(struct chunk_reader *r, const struct chunk *c, uint8_t *to, struct err *e)
{
    static uint8_t nowhere[CHUNK_BYTES];
    int rc;

    chunk_expect(r, c, to ? to : nowhere);
    while ((rc = chunk_read_body(r, 0, e)) == 0)
        ;
    return rc == 1 ? 0 : -1;
}

static int on_put(struct chunk_reader *r, const struct chunk *c, struct err *e)
{
    uint8_t *to = arena_own_reserve(c->offset, c->bytes) == 0 ? arena_map_at(c->offset, c->bytes)
                                                              : NULL;

    if (take_body(r, c, to, e) != 0)
        return -1;
    if (!to)
        return ack(r->fd, c, CHUNK_NO_ROOM, e);
    return ack(r->fd, c, chunk_digest(to, c->bytes) == c->digest ? CHUNK_FINE : CHUNK_CORRUPT, e);
}

static int on_get(int fd, const struct chunk *c, struct err *e)
{
    struct chunk answer = {.kind = CHUNK_DATA, .offset = c->offset, .bytes = c->bytes};
    const uint8_t *from = arena_map_at(c->offset, c->bytes);

    if (!from || arena_own_reserve(c->offset, c->bytes) != 0)
        return err_set(e, ERR_link, "the server asks for bytes that are not in the arena");
    answer.digest = chunk_digest(from, c->bytes);
    return say(fd, &answer, from, e);
}

static int on_chunk(struct chunk_reader *r, const struct chunk *c, struct err *e)
{
    switch (c->kind) {
    case CHUNK_PUT:
        return on_put(r, c, e);
    case CHUNK_GET:
        return on_get(r->fd, c, e);
    case CHUNK_RESERVE:
        return ack(r->fd, c,
                   arena_own_reserve(c->offset, c->bytes) == 0 ? CHUNK_FINE : CHUNK_NO_ROOM, e);
    default:
        return err_set(e, ERR_link, "a server does not send answers");
    }
}

void carrier_serve(int fd, struct err *e)
{
    struct chunk_reader r = {.fd = fd};
    struct chunk c;
    int rc;

    while ((rc = chunk_read_head(&r, 0, &c, e)) >= 0) {
        if (rc == 1 && on_chunk(&r, &c, e) != 0)
            return;
    }
}

/* ---- a connection ---- */

static int receive(int fd, uint8_t *to, size_t n, struct err *e)
{
    ssize_t got = recv(fd, to, n, MSG_WAITALL);

    if (got == (ssize_t)n)
        return 0;
    if (got < 0)
        return err_sys(e, ERR_link, errno, "the server does not answer");
    return err_set(e, ERR_link, "closed by peer");
}

/* The next frame, which is to be of that type; and not a byte more: chunks may stand behind it. */
static int hear(int fd, enum frame_type wanted, struct frame *f, struct err *e)
{
    static uint8_t bytes[LIMIT_AUTH_BYTES];
    uint32_t size;

    if (receive(fd, bytes, FRAME_HEADER_BYTES, e) != 0)
        return -1;
    memcpy(&size, bytes, sizeof size);
    if (size > sizeof bytes - FRAME_HEADER_BYTES)
        return err_set(e, ERR_link, "a frame of %u bytes", size);
    if (size > 0 && receive(fd, bytes + FRAME_HEADER_BYTES, size, e) != 0)
        return -1;
    if (frame_decode(bytes, FRAME_HEADER_BYTES + size, f, e) <= 0)
        return -1;
    if (f->type == FRAME_refuse)
        return err_set(e, ERR_refused, "%s", f->refuse.detail);
    if (f->type != wanted)
        return err_set(e, ERR_link, "the server sent %s", frame_type_name(f->type));
    return 0;
}

/* Only while both ends prove themselves: afterwards a server may have nothing to say. */
static void limit_silence(int fd, time_t seconds)
{
    struct timeval limit = {.tv_sec = seconds};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* As the link's: both ends prove that they know the secret. */
static int prove(int fd, struct err *e)
{
    static struct frame f, auth; /* large */
    uint8_t nonce[HANDSHAKE_BYTES];

    limit_silence(fd, 2 * LIMIT_HELLO_MS / 1000);
    if (hear(fd, FRAME_challenge, &f, e) != 0)
        return -1;
    if (f.challenge.n_nonce != sizeof nonce)
        return err_set(e, ERR_link, "the server's challenge is none");
    memcpy(nonce, f.challenge.nonce, sizeof nonce);
    auth = (struct frame){.type = FRAME_auth, .auth.schema_hash = schema_hash()};
    strcpy(auth.auth.version, TUTTI_VERSION);
    f = (struct frame){.type = FRAME_attach, .attach.epoch = carrier.epoch};
    auth.auth.n_hello = (uint32_t)frame_encode(&f, auth.auth.hello, sizeof auth.auth.hello);
    if (auth_sign(&auth, carrier.key, nonce, e) != 0 ||
        frame_send(fd, &auth, NULL, 0, LIMIT_HELLO_MS, e) != 0 || hear(fd, FRAME_proof, &f, e) != 0)
        return -1;
    if (!server_proves(&f.proof, &auth, carrier.key, nonce))
        return err_set(e, ERR_refused, "the server does not prove that it knows the token");
    limit_silence(fd, 0);
    return 0;
}

/* The connection that carrier_stop may end; -1: there is none. Returns whether to go on. */
static bool hold(int fd)
{
    bool on;

    pthread_mutex_lock(&carrier.lock);
    carrier.fd = fd;
    on = !carrier.stops;
    pthread_mutex_unlock(&carrier.lock);
    return on;
}

static void carry(void)
{
    struct err e;
    int fd = dial_again(&e);

    if (fd >= 0 && hold(fd) && prove(fd, &e) == 0) {
        log_debug("the data channel is open");
        carrier_serve(fd, &e);
    }
    hold(-1);
    if (fd >= 0)
        close(fd);
}

/* Returns false when it is time to end. */
static bool wait_until_told(void)
{
    pthread_mutex_lock(&carrier.lock);
    while (!carrier.carries && !carrier.stops)
        pthread_cond_wait(&carrier.told, &carrier.lock);
    pthread_mutex_unlock(&carrier.lock);
    return hold(-1);
}

static void *carrier_main(void *arg)
{
    (void)arg;
    for (uint32_t ms = AGAIN_MS; wait_until_told();) {
        uint64_t begun = clock_us();

        carry();
        if (!hold(-1))
            break;
        ms = clock_us() - begun > STEADY_US ? AGAIN_MS : ms;
        log_info("the data channel has ended; it is made again in %u ms", ms);
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l}, NULL);
        ms = 2 * ms < AGAIN_MAX_MS ? 2 * ms : AGAIN_MAX_MS;
    }
    return NULL;
}

int carrier_start(const struct token_key *key, uint64_t epoch, struct err *e)
{
    sigset_t all, before;
    int rc;

    carrier.key = key;
    carrier.epoch = epoch;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(&carrier.thread, NULL, carrier_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_sys(e, ERR_link, rc, "start the thread of the data channel");
    carrier.started = true;
    return 0;
}

void carrier_stop(void)
{
    if (!carrier.started)
        return;
    pthread_mutex_lock(&carrier.lock);
    carrier.stops = true;
    if (carrier.fd >= 0)
        shutdown(carrier.fd, SHUT_RDWR);
    pthread_cond_signal(&carrier.told);
    pthread_mutex_unlock(&carrier.lock);
    pthread_join(carrier.thread, NULL);
    carrier.started = false;
}

void carrier_carry(void)
{
    pthread_mutex_lock(&carrier.lock);
    carrier.carries = true;
    pthread_cond_signal(&carrier.told);
    pthread_mutex_unlock(&carrier.lock);
}
