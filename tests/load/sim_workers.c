/* sim_workers.c - N workers in one process, which do nothing and say at once that it is done: what
 * is left to measure is the coordinator. The outputs of their jobs are whatever the arena held.
 * Usage: sim_workers SOCKET N.
 *
 * Prints a line when all have been welcomed, and leaves when the server has stopped all. */
#include "schema/clock.h"
#include "schema/frame.h"
#include "schema/log.h"
#include "schema/op.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SEND_MS 10000
#define BATCH 256

struct rank {
    struct frame_reader reader;
    int fd;
    uint64_t epoch;
};

static struct rank *ranks;
static uint32_t n_ranks, welcomed, stopped, gone;
static struct frame in, out; /* large */

__attribute__((noreturn)) static void die(const char *what, const char *why)
{
    fprintf(stderr, "sim_workers: %s: %s\n", what, why);
    exit(1);
}

static void say(struct rank *r)
{
    struct err e;

    if (frame_send(r->fd, &out, NULL, 0, SEND_MS, &e) != 0 && gone == 0)
        die("send", e.detail);
}

static void hello(struct rank *r, uint32_t rank)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    out = (struct frame){.type = FRAME_hello};
    out.hello = (struct frame_hello){.schema_hash = schema_hash(),
                                     .rank = rank,
                                     .pid = (uint32_t)getpid(),
                                     .n_reduces = REDUCTION_COUNT};
    for (int i = 0; i < REDUCTION_COUNT; i++)
        out.hello.reduces[i] = (1u << DTYPE_COUNT) - 1;
    if (!f || !fgets(out.hello.boot_id, sizeof out.hello.boot_id, f))
        die("boot_id", strerror(errno));
    fclose(f);
    out.hello.boot_id[strcspn(out.hello.boot_id, "\n")] = '\0';
    snprintf(out.hello.version, sizeof out.hello.version, "%s", TUTTI_VERSION);
    snprintf(out.hello.host, sizeof out.hello.host, "simulated");
    snprintf(out.hello.backend, sizeof out.hello.backend, "shm");
    snprintf(out.hello.device, sizeof out.hello.device, "cpu");
    say(r);
}

static uint64_t monotonic_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void on_frame(struct rank *r)
{
    uint64_t now = monotonic_ns();

    switch (in.type) {
    case FRAME_welcome:
        r->epoch = in.welcome.epoch;
        close(frame_take_fd(&r->reader, 0));
        close(frame_take_fd(&r->reader, 1)); /* the fence: this process is never given up */
        if (++welcomed == n_ranks) {
            puts("all welcomed");
            fflush(stdout);
        }
        break;
    case FRAME_run:
        out.type = FRAME_done;
        out.done = (struct frame_done){.epoch = r->epoch,
                                       .job = in.run.job,
                                       .attempt = in.run.attempt,
                                       .start_ns = now,
                                       .end_ns = now};
        say(r);
        break;
    case FRAME_refuse:
        die("refused", in.refuse.detail);
    case FRAME_stop:
        if (++stopped == n_ranks) /* all links end at once: they are one process */
            exit(0);
        break;
    default:
        break; /* JOIN, LEAVE, CANCEL */
    }
}

static void hear(struct rank *r)
{
    struct err e;
    int rc;

    do {
        rc = frame_read(&r->reader, MSG_DONTWAIT, &in, &e);
        if (rc > 0)
            on_frame(r);
    } while (rc > 0 && r->reader.end > r->reader.start);
    if (rc >= 0)
        return;
    close(r->fd);
    gone++;
}

static void beat(void)
{
    for (struct rank *r = ranks; r < ranks + n_ranks; r++) {
        if (r->epoch == 0)
            continue;
        out.type = FRAME_heartbeat;
        out.heartbeat = (struct frame_heartbeat){.epoch = r->epoch};
        say(r);
    }
}

static void connect_all(const char *path, int epoll)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    for (uint32_t i = 0; i < n_ranks; i++) {
        struct rank *r = &ranks[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = r};

        r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (r->fd < 0 || connect(r->fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, r->fd, &event) != 0)
            die(path, strerror(errno));
        frame_reader_init(&r->reader, r->fd);
        hello(r, i);
    }
}

int main(int argc, char *argv[])
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t last = clock_us();
    struct rlimit files;

    if (argc != 3)
        die("usage", "sim_workers SOCKET N");
    n_ranks = (uint32_t)strtoul(argv[2], NULL, 10);
    ranks = calloc(n_ranks, sizeof *ranks);
    if (!ranks || epoll < 0)
        die("start", strerror(errno));
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    connect_all(argv[1], epoll);
    while (gone < n_ranks) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(epoll, events, BATCH, 200);

        for (int i = 0; i < n; i++)
            hear(events[i].data.ptr);
        if (clock_us() - last >= 1000000 && gone == 0) {
            last = clock_us();
            beat();
        }
    }
    return 0;
}
