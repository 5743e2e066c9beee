/* fake_worker.h - a worker process that behaves as FAKE_WORKER in its environment says; for the
 * tests of the worker link, which start themselves as such. This header is long because its ways to
 * misbehave stand beside each other. */
#ifndef TUTTI_TESTS_FAKE_WORKER_H
#define TUTTI_TESTS_FAKE_WORKER_H

#include "schema/frame.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct fake {
    int fd;
    uint32_t rank;
    uint64_t epoch, comm;
    struct frame_reader reader;
};

static inline bool behaves(const char *how)
{
    const char *all = getenv("FAKE_WORKER");

    return all && strstr(all, how);
}

static inline void say(struct fake *f, const struct frame *frame)
{
    struct err e;

    if (frame_send(f->fd, frame, NULL, 0, 1000, &e) != 0)
        _exit(9);
}

static inline void say_hello(struct fake *f)
{
    struct frame frame = {.type = FRAME_hello};

    frame.hello.schema_hash = schema_hash() + behaves("other-build");
    frame.hello.rank = f->rank;
    frame.hello.pid = (uint32_t)getpid();
    strcpy(frame.hello.version, "9.9");
    strcpy(frame.hello.backend, "sh\xffm"); /* not fit for a document */
    strcpy(frame.hello.device, behaves("on-gpu") ? "gpu:0" : "cpu");
    say(f, &frame);
}

static inline void answer_run(struct fake *f, const struct frame_run *run)
{
    struct frame frame = {.type = FRAME_done};

    if (run->comm != f->comm || run->epoch != f->epoch)
        _exit(8); /* RUN before JOIN, or another's epoch */
    if (behaves("die-on-run"))
        kill(getpid(), SIGKILL);
    if (behaves("silent-on-run"))
        return;
    if (behaves("fail-on-run")) {
        frame = (struct frame){.type = FRAME_failed};
        frame.failed.epoch = f->epoch;
        frame.failed.job = run->job;
        frame.failed.attempt = run->attempt;
        strcpy(frame.failed.code, "worker_failed");
        strcpy(frame.failed.detail, "no\n such\xff thing");
    } else {
        frame.done = (struct frame_done){.epoch = f->epoch,
                                         .job = run->job,
                                         .attempt = run->attempt,
                                         .start_ns = 1000,
                                         .end_ns = 5001000};
    }
    if (behaves("late")) { /* answers of another life first */
        frame.done.epoch--;
        say(f, &frame);
        frame.done.epoch++;
        frame.done.attempt += 7;
        say(f, &frame);
        frame.done.attempt -= 7;
    }
    say(f, &frame);
    if (behaves("twice"))
        say(f, &frame);
    if (behaves("die-after-done"))
        _exit(4);
}

/* Returns false when it is time to leave. */
static inline bool obey(struct fake *f, struct frame *in)
{
    struct stat s;

    switch (in->type) {
    case FRAME_welcome:
        f->epoch = in->welcome.epoch;
        if (fstat(frame_take_fd(&f->reader, 0), &s) != 0 ||
            (uint64_t)s.st_size != in->welcome.arena_bytes || frame_take_fd(&f->reader, 1) < 0)
            _exit(7);
        if (behaves("garbage"))
            send(f->fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 0);
        if (behaves("mine-not"))
            say(f, &(struct frame){.type = FRAME_stop});
        return true;
    case FRAME_join:
        f->comm = in->join.comm;
        if (in->join.ranks[in->join.rank] != f->rank)
            _exit(6);
        return true;
    case FRAME_run:
        answer_run(f, &in->run);
        return true;
    case FRAME_cancel:
        if (!behaves("stubborn")) {
            struct frame out = {.type = FRAME_failed};

            out.failed.epoch = f->epoch;
            out.failed.job = in->cancel.job;
            out.failed.attempt = in->cancel.attempt;
            strcpy(out.failed.code, "cancelled");
            say(f, &out);
        }
        return true;
    case FRAME_leave:
    case FRAME_heartbeat:
        return true;
    default:
        return false;
    }
}

static inline int fake_worker(int argc, char *argv[])
{
    static struct fake f;
    static struct frame in;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct err e;
    int rc;

    f.rank = (uint32_t)strtoul(argv[4], NULL, 10);
    if (argc < 11 || strncmp(argv[2], "unix:", 5) != 0 || behaves("die-at-start"))
        return 3;
    strncpy(address.sun_path, argv[2] + 5, sizeof address.sun_path - 1);
    f.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(f.fd, (struct sockaddr *)&address, sizeof address) != 0)
        return 2;
    frame_reader_init(&f.reader, f.fd);
    if (!behaves("mute"))
        say_hello(&f);
    while ((rc = frame_read(&f.reader, 0, &in, &e)) >= 0) {
        if (rc == 1 && !obey(&f, &in))
            break;
    }
    while (behaves("outlive"))
        pause();
    return 0;
}

#endif
