/* link.c - the worker's end of the link. */
#include "worker/link.h"
#include "schema/clock.h"
#include "schema/log.h"
#include "worker/dial.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SEND_MS 10000
#define ANSWER_MS (2 * LIMIT_HELLO_MS) /* over TCP: a server that does not answer is none */
#define END_MS LIMIT_CANCEL_MS         /* of the main thread, once the link has ended */

static pthread_mutex_t link_lock = PTHREAD_MUTEX_INITIALIZER;
static int link_fd = -1;
static struct frame_reader reader; /* main thread */
static bool link_tcp, link_unseen; /* the server cannot kill us */

static struct {
    uint8_t bytes[4096];
    size_t len;
} soon; /* under link_lock */

static struct {
    uint64_t epoch;
    uint32_t every_ms;
    uint64_t (*progress)(void);
    atomic_uint_least64_t job;
    atomic_uint_least32_t attempt;
} beat;

static void read_boot_id(char *out, size_t size)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    out[0] = '\0';
    if (f) {
        if (fgets(out, (int)size, f))
            out[strcspn(out, "\n")] = '\0';
        fclose(f);
    }
}

static void tell_gpu(struct frame_hello *h, const struct gpu_facts *gpu)
{
    h->gpu_memory_bytes = gpu->memory_bytes;
    h->simulated = gpu->simulated;
    snprintf(h->gpu_name, sizeof h->gpu_name, "%s", gpu->name);
    snprintf(h->gpu_uuid, sizeof h->gpu_uuid, "%s", gpu->uuid);
    snprintf(h->gpu_pci_id, sizeof h->gpu_pci_id, "%s", gpu->pci_id);
    snprintf(h->driver_version, sizeof h->driver_version, "%s", gpu->driver_version);
    snprintf(h->runtime_version, sizeof h->runtime_version, "%s", gpu->runtime_version);
    snprintf(h->nccl_version, sizeof h->nccl_version, "%s", gpu->nccl_version);
    snprintf(h->runtime_path, sizeof h->runtime_path, "%s", gpu->runtime_path);
    snprintf(h->nccl_path, sizeof h->nccl_path, "%s", gpu->nccl_path);
}

static struct frame *hello(const struct link_options *o)
{
    static struct frame f; /* large */

    f = (struct frame){.type = FRAME_hello};
    f.hello = (struct frame_hello){.schema_hash = schema_hash(),
                                   .rank = o->rank,
                                   .pid = (uint32_t)getpid(),
                                   .n_reduces = REDUCTION_COUNT,
                                   .meets = o->meets};
    memcpy(f.hello.reduces, o->reduces, sizeof o->reduces);
    snprintf(f.hello.version, sizeof f.hello.version, "%s", TUTTI_VERSION);
    read_boot_id(f.hello.boot_id, sizeof f.hello.boot_id);
    gethostname(f.hello.host, sizeof f.hello.host - 1);
    tell_gpu(&f.hello, &o->gpu);
    snprintf(f.hello.backend, sizeof f.hello.backend, "%s", o->backend);
    snprintf(f.hello.device, sizeof f.hello.device, "%s", o->device);
    return &f;
}

/* The next frame, which is to be of that type. */
static int hear(enum frame_type wanted, struct frame *f, struct err *e)
{
    uint64_t deadline = clock_us() + ANSWER_MS * 1000ull;
    struct pollfd p = {.fd = link_fd, .events = POLLIN};
    int rc;

    while ((rc = link_read(false, f, e)) == 0) {
        if (link_tcp && clock_us() > deadline)
            return err_set(e, ERR_link, "the server does not answer");
        poll(&p, 1, link_tcp ? ANSWER_MS : -1);
    }
    if (rc < 0)
        return -1;
    if (f->type == FRAME_refuse)
        return err_set(e, ERR_refused, "%s", f->refuse.detail);
    if (f->type != wanted)
        return err_set(e, ERR_link, "the server sent %s where %s was to come",
                       frame_type_name(f->type), frame_type_name(wanted));
    return 0;
}

/* Both ends prove that they know the token's secret; see schema/handshake.h. */
static int prove(const struct link_options *o, struct frame *in, struct err *e)
{
    static struct frame auth; /* large */
    uint8_t nonce[HANDSHAKE_BYTES];
    size_t len;

    if (hear(FRAME_challenge, in, e) != 0)
        return -1;
    if (in->challenge.n_nonce != sizeof nonce)
        return err_set(e, ERR_link, "the server's challenge is none");
    memcpy(nonce, in->challenge.nonce, sizeof nonce);
    auth = (struct frame){.type = FRAME_auth, .auth.schema_hash = schema_hash()};
    snprintf(auth.auth.version, sizeof auth.auth.version, "%s", TUTTI_VERSION);
    len = frame_encode(hello(o), auth.auth.hello, sizeof auth.auth.hello);
    auth.auth.n_hello = (uint32_t)len;
    if (len == 0)
        return err_set(e, ERR_link, "HELLO cannot be encoded");
    if (auth_sign(&auth, o->key, nonce, e) != 0 || link_send(&auth, e) != 0 ||
        hear(FRAME_proof, in, e) != 0)
        return -1;
    if (!server_proves(&in->proof, &auth, o->key, nonce))
        return err_set(e, ERR_refused,
                       "the server does not prove that it knows the token: it is another's, and "
                       "this worker does not work for it");
    return 0;
}

static int take_fds(int *arena_fd, int *fence_fd, struct err *e)
{
    *arena_fd = frame_take_fd(&reader, 0);
    *fence_fd = frame_take_fd(&reader, 1);
    if (*arena_fd < 0 || *fence_fd < 0)
        return err_set(e, ERR_link, "WELCOME came without the arena");
    return 0;
}

int link_open(const struct link_options *o, struct frame *welcome, int *arena_fd, int *fence_fd,
              struct err *e)
{
    link_fd = dial(o->server, e);
    if (link_fd < 0)
        return -1;
    frame_reader_init(&reader, link_fd);
    link_tcp = dial_is_tcp(o->server);
    *arena_fd = *fence_fd = -1;
    if ((link_tcp ? prove(o, welcome, e) : link_send(hello(o), e)) == 0 &&
        hear(FRAME_welcome, welcome, e) == 0 &&
        (link_tcp || take_fds(arena_fd, fence_fd, e) == 0)) {
        link_unseen = welcome->welcome.by_lock;
        return 0;
    }
    link_close();
    return -1;
}

void link_close(void)
{
    if (link_fd >= 0) {
        frame_reader_fini(&reader);
        close(link_fd);
    }
    link_fd = -1;
}

int link_tcp_fd(void)
{
    return link_tcp ? link_fd : -1;
}

static int flush_locked(struct err *e)
{
    size_t len = soon.len;

    soon.len = 0;
    return len > 0 ? frame_send_encoded(link_fd, soon.bytes, len, SEND_MS, e) : 0;
}

int link_send(const struct frame *f, struct err *e)
{
    int rc;

    pthread_mutex_lock(&link_lock);
    rc = flush_locked(e);
    if (rc == 0)
        rc = frame_send(link_fd, f, NULL, 0, SEND_MS, e);
    pthread_mutex_unlock(&link_lock);
    return rc;
}

int link_send_soon(const struct frame *f, struct err *e)
{
    size_t len;
    int rc = 0;

    pthread_mutex_lock(&link_lock);
    len = frame_encode(f, soon.bytes + soon.len, sizeof soon.bytes - soon.len);
    if (len == 0 && (rc = flush_locked(e)) == 0)
        len = frame_encode(f, soon.bytes, sizeof soon.bytes);
    if (rc == 0 && len == 0)
        rc = err_set(e, ERR_link, "a %s frame is none to be kept", frame_type_name(f->type));
    soon.len += len;
    pthread_mutex_unlock(&link_lock);
    return rc;
}

int link_flush(struct err *e)
{
    int rc;

    pthread_mutex_lock(&link_lock);
    rc = flush_locked(e);
    pthread_mutex_unlock(&link_lock);
    return rc;
}

int link_read(bool wait, struct frame *out, struct err *e)
{
    return frame_read(&reader, wait ? 0 : MSG_DONTWAIT, out, e);
}

int link_take_fd(void)
{
    return frame_take_first_fd(&reader);
}

bool link_pending(void)
{
    struct pollfd p = {.fd = link_fd, .events = POLLIN | POLLRDHUP};

    return reader.end > reader.start || poll(&p, 1, 0) > 0;
}

void link_working_on(uint64_t job, uint32_t attempt)
{
    atomic_store_explicit(&beat.attempt, attempt, memory_order_relaxed);
    atomic_store_explicit(&beat.job, job, memory_order_relaxed);
}

int link_say_ready(uint64_t epoch, uint64_t arena_nonce, uint64_t arena_bytes, const char *detail,
                   struct err *e)
{
    static struct frame f; /* large */

    f = (struct frame){
        .type = FRAME_ready,
        .ready = {.epoch = epoch, .arena_nonce = arena_nonce, .arena_bytes = arena_bytes}};
    snprintf(f.ready.detail, sizeof f.ready.detail, "%.511s", detail);
    return link_send(&f, e);
}

void link_say_left(uint64_t epoch)
{
    static struct frame f; /* large */
    struct err e;

    f = (struct frame){.type = FRAME_seen, .seen = {.epoch = epoch, .of = epoch}};
    link_send(&f, &e);
}

static void rest(uint32_t ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
              NULL);
}

/* Nobody may be able to kill us, and what we may write to is kept until we have ended: so we end,
 * also when the main thread is stuck. A network may break without a word, a socket does not. */
static void end_if_silent(void)
{
    uint32_t silent_ms = link_tcp ? dial_silent_ms(link_fd) : 0;

    if (silent_ms <= LIMIT_TCP_SILENT_MS)
        return;
    log_error("leaving: the server has been silent for %u ms", silent_ms);
    _exit(LINK_EXIT_STATUS);
}

static void *beat_main(void *arg)
{
    static struct frame f; /* this thread's alone */
    struct err e;

    (void)arg;
    for (;;) {
        rest(beat.every_ms);
        end_if_silent();
        f.type = FRAME_heartbeat;
        f.heartbeat = (struct frame_heartbeat){.epoch = beat.epoch,
                                               .job = atomic_load(&beat.job),
                                               .attempt = atomic_load(&beat.attempt),
                                               .done_bytes = beat.progress()};
        if (link_send(&f, &e) != 0)
            break; /* the main thread sees the end of stream */
    }
    if (link_unseen) {
        rest(END_MS);
        _exit(LINK_EXIT_STATUS);
    }
    return NULL;
}

int link_beat(uint64_t epoch, uint32_t every_ms, uint64_t (*progress)(void), struct err *e)
{
    pthread_t thread;
    sigset_t all, before;
    int rc;

    beat.epoch = epoch;
    beat.every_ms = every_ms;
    beat.progress = progress;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(&thread, NULL, beat_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_sys(e, ERR_link, rc, "start the heartbeat thread");
    pthread_detach(thread);
    return 0;
}
