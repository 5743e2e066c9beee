/* link.c - the worker's end of the link. */
#include "worker/link.h"
#include "schema/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SEND_MS 10000

static pthread_mutex_t link_lock = PTHREAD_MUTEX_INITIALIZER;
static int link_fd = -1;
static struct frame_reader reader; /* main thread */

static struct {
    uint64_t epoch;
    uint32_t every_ms;
    uint64_t (*progress)(void);
    atomic_uint_least64_t job;
    atomic_uint_least32_t attempt;
} beat;

static int connect_unix(const char *path, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof at.sun_path)
        return err_set(e, ERR_link, "the socket's path is longer than %zu bytes",
                       sizeof at.sun_path - 1);
    strcpy(at.sun_path, path);
    link_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link_fd < 0 || connect(link_fd, (struct sockaddr *)&at, sizeof at) != 0)
        return err_sys(e, ERR_link, errno, "connect to %s", path);
    frame_reader_init(&reader, link_fd);
    return 0;
}

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

static int say_hello(const struct link_options *o, struct err *e)
{
    static struct frame f;

    f.type = FRAME_hello;
    f.hello = (struct frame_hello){.schema_hash = schema_hash(),
                                   .rank = o->rank,
                                   .pid = (uint32_t)getpid(),
                                   .n_reduces = REDUCTION_COUNT,
                                   .by_ticket = o->by_ticket};
    memcpy(f.hello.reduces, o->reduces, sizeof o->reduces);
    snprintf(f.hello.version, sizeof f.hello.version, "%s", TUTTI_VERSION);
    read_boot_id(f.hello.boot_id, sizeof f.hello.boot_id);
    gethostname(f.hello.host, sizeof f.hello.host - 1);
    tell_gpu(&f.hello, &o->gpu);
    snprintf(f.hello.backend, sizeof f.hello.backend, "%s", o->backend);
    snprintf(f.hello.device, sizeof f.hello.device, "%s", o->device);
    return link_send(&f, e);
}

static int hear_answer(struct frame *f, int *arena_fd, int *fence_fd, struct err *e)
{
    int rc;

    while ((rc = link_read(true, f, e)) == 0) {
    }
    if (rc < 0)
        return -1;
    if (f->type == FRAME_refuse)
        return err_set(e, ERR_refused, "%s", f->refuse.detail);
    if (f->type != FRAME_welcome)
        return err_set(e, ERR_link, "the server answered HELLO with %s", frame_type_name(f->type));
    *arena_fd = frame_take_fd(&reader, 0);
    *fence_fd = frame_take_fd(&reader, 1);
    if (*arena_fd < 0 || *fence_fd < 0)
        return err_set(e, ERR_link, "WELCOME came without the arena");
    return 0;
}

int link_open(const struct link_options *o, struct frame *welcome, int *arena_fd, int *fence_fd,
              struct err *e)
{
    if (connect_unix(o->server + strlen("unix:"), e) != 0 || say_hello(o, e) != 0 ||
        hear_answer(welcome, arena_fd, fence_fd, e) != 0) {
        link_close();
        return -1;
    }
    return 0;
}

void link_close(void)
{
    if (link_fd >= 0) {
        frame_reader_fini(&reader);
        close(link_fd);
    }
    link_fd = -1;
}

int link_send(const struct frame *f, struct err *e)
{
    int rc;

    pthread_mutex_lock(&link_lock);
    rc = frame_send(link_fd, f, NULL, 0, SEND_MS, e);
    pthread_mutex_unlock(&link_lock);
    return rc;
}

int link_read(bool wait, struct frame *out, struct err *e)
{
    return frame_read(&reader, wait ? 0 : MSG_DONTWAIT, out, e);
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

static void *beat_main(void *arg)
{
    static struct frame f; /* this thread's alone */
    struct err e;

    (void)arg;
    for (;;) {
        nanosleep(&(struct timespec){.tv_sec = beat.every_ms / 1000,
                                     .tv_nsec = (long)(beat.every_ms % 1000) * 1000000},
                  NULL);
        f.type = FRAME_heartbeat;
        f.heartbeat = (struct frame_heartbeat){.epoch = beat.epoch,
                                               .job = atomic_load(&beat.job),
                                               .attempt = atomic_load(&beat.attempt),
                                               .done_bytes = beat.progress()};
        if (link_send(&f, &e) != 0)
            return NULL; /* the main thread sees the end of stream */
    }
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
