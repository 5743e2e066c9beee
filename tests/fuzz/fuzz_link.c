/* fuzz_link.c - the worker link as the server sees it: whole connections, from the first byte. The
 * first byte of the input says how far the connection has come before the rest is sent on it. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/house.h"

#include "schema/clock.h"
#include "server/resident_parts.h"
#include "server/workers_parts.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    HOW_STRANGER = 1, /* it has not said HELLO */
    HOW_IDLE = 2,     /* there is no job */
    HOW_FETCH = 4,    /* it has been asked for the bytes of a tensor */
    HOW_TICKET = 8,   /* its ranks find each other by tickets */
};

#define EPOCH 1 /* of rank 0 in every input */

/* ---- processes that exist by their descriptor alone ---- */

int __wrap_launch_adopt(struct launched *out, pid_t pid, struct err *e);
void __wrap_launch_kill(const struct launched *l, int sig);
bool __wrap_launch_reaped(struct launched *l, char *how, uint32_t how_size);
int __wrap_fence_record(uint32_t rank, pid_t pid, struct err *e);
int __wrap_fence_pass(int *fd, struct err *e);
int __wrap_fence_open(const char *data_dir, struct err *e);
void __wrap_fence_close(void);

int __wrap_launch_adopt(struct launched *out, pid_t pid, struct err *e)
{
    (void)pid;
    (void)e;
    *out = (struct launched){.pid = 1, .pidfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    return 0;
}

/* Readable: it has exited. */
void __wrap_launch_kill(const struct launched *l, int sig)
{
    uint64_t one = 1;

    (void)sig;
    if (l->pidfd >= 0)
        FUZZ_CHECK(write(l->pidfd, &one, sizeof one) == sizeof one, "kill");
}

bool __wrap_launch_reaped(struct launched *l, char *how, uint32_t how_size)
{
    snprintf(how, how_size, "its own exit");
    close(l->pidfd);
    *l = (struct launched){.pidfd = -1};
    return true;
}

int __wrap_fence_record(uint32_t rank, pid_t pid, struct err *e)
{
    (void)rank;
    (void)pid;
    (void)e;
    return 0;
}

int __wrap_fence_pass(int *fd, struct err *e)
{
    (void)e;
    *fd = eventfd(0, EFD_CLOEXEC);
    return 0;
}

int __wrap_fence_open(const char *data_dir, struct err *e)
{
    (void)data_dir;
    (void)e;
    return 0;
}

void __wrap_fence_close(void)
{
}

/* ---- connections ---- */

static char address[240];

static int connect_worker(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", address + strlen("unix:"));
    FUZZ_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "connect to %s",
               address);
    core_turn(0);
    return fd;
}

/* What the server sends is for nobody; a full socket must not stand in its way. */
static void drain(int fd)
{
    static uint8_t nothing[1 << 16];

    while (recv(fd, nothing, sizeof nothing, MSG_DONTWAIT) > 0)
        ;
}

static void say(int fd, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, bytes + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);

        core_turn(0);
        drain(fd);
        if (n < 0)
            return; /* the server has closed */
        at += (size_t)n;
    }
    core_turn(0);
}

static void say_frame(int fd, const struct frame *f)
{
    static uint8_t buf[LIMIT_FRAME_BYTES];
    size_t len = frame_encode(f, buf, sizeof buf);

    FUZZ_CHECK(len > 0, "a %s frame cannot be encoded", frame_type_name(f->type));
    say(fd, buf, len);
}

static void say_hello(int fd, uint32_t rank, uint8_t how)
{
    static struct frame f;

    f = (struct frame){.type = FRAME_hello};
    f.hello.schema_hash = schema_hash();
    f.hello.rank = rank;
    f.hello.meets = how & HOW_TICKET ? MEETS_by_ticket : 0;
    strcpy(f.hello.backend, "shm");
    say_frame(fd, &f);
    FUZZ_CHECK(workers.rank[rank].info.state == WORKER_ready, "rank %u is %s", rank,
               worker_state_name(workers.rank[rank].info.state));
    workers.rank[rank].info.epoch = EPOCH + rank;
}

/* A HELLO in the input cannot know the hash of this build: 0 stands for it. */
static void fix_hello(uint8_t *bytes, size_t len)
{
    uint64_t hash = schema_hash();

    if (len >= 16 && bytes[4] == FRAME_hello && memcmp(bytes + 8, "\0\0\0\0\0\0\0\0", 8) == 0)
        memcpy(bytes + 8, &hash, sizeof hash);
}

/* ---- work ---- */

static struct job_wait waits[2];
static uint32_t answers;

static void woken(struct job_wait *w)
{
    answers++;
    record_free(w->job);
    w->job = NULL;
}

/* Of ranks 0 and 1; two of them run together. */
static void submit(struct job_wait *w)
{
    struct job_submission *s = calloc(1, sizeof *s);
    struct job_record *r = record_new(2);
    struct extent *x;
    struct err e;

    FUZZ_CHECK(s && r, "no memory for a job");
    r->id = id_new();
    r->op = op_find("all_reduce_sum", strlen("all_reduce_sum"));
    r->ranks[1] = 1;
    r->dtype = DTYPE_float32;
    r->in_shape = r->out_shape = (struct shape){.ndim = 1, .dim = {4}};
    r->timeout_us = 60000000;
    r->received_us = clock_wall_us();
    s->record = r;
    s->inputs = calloc(2, sizeof(struct tensor *));
    FUZZ_CHECK(s->inputs && extent_alloc(16, &x, &e) == 0, "no room for inputs");
    for (int i = 0; i < 2; i++)
        s->inputs[i] = tensor_new(r->dtype, &r->in_shape, x, 0);
    extent_unref(x);
    *w = (struct job_wait){.wake = woken, .deadline_us = clock_us() + 60000000};
    s->wait = w;
    job_submit(s);
    core_turn(0);
}

static struct resident_wait wanted;
static uint32_t brought;

static void came(struct resident_wait *w)
{
    (void)w;
    brought++;
}

/* The bytes of a tensor that is on rank 0's device only. */
static struct tensor *want(void)
{
    struct shape shape = {.ndim = 1, .dim = {8}};
    struct tensor *t = tensor_new(DTYPE_int8, &shape, NULL, 0);
    uint32_t rank = 0;
    struct err e;

    FUZZ_CHECK(t && resident_make(t, &rank, 1, &e) == 0, "a resident tensor");
    wanted = (struct resident_wait){.tensor = t, .done = came};
    resident_want(&wanted);
    core_turn(0);
    return t;
}

/* Every job ends once rank 1 has done its part and rank 0 has answered or is lost. */
static void rank_one_answers(int fd)
{
    static struct frame f;

    for (uint64_t job = 1; job <= 2; job++) {
        f = (struct frame){.type = FRAME_done};
        f.done = (struct frame_done){.epoch = EPOCH + 1, .job = job, .attempt = 1, .end_ns = 5};
        say_frame(fd, &f);
    }
}

static void open_workers(void)
{
    struct workers_options o = {.world_size = 2, .listen = address, .arena = fuzz_arena()};
    struct err e;

    snprintf(address, sizeof address, "unix:%s/worker", fuzz_dir());
    residents.newest = residents.oldest = residents.fetches = NULL; /* the end before left them */
    residents.last_number = 0;
    atomic_store(&residents.closed, false);
    house_open(1);
    FUZZ_CHECK(workers_init(&o, &e) == 0, "workers: %s", e.detail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_in in = {data, len};
    uint8_t how = fuzz_u8(&in), *bytes = fuzz_copy(in.at, in.len);
    struct tensor *t = NULL;
    int fd[2];

    fuzz_house();
    fuzz_arena_fresh(0xa5);
    open_workers();
    fix_hello(bytes, in.len);
    answers = brought = 0;
    for (uint32_t i = 0; i < 2; i++) {
        fd[i] = connect_worker();
        if (i > 0 || !(how & HOW_STRANGER))
            say_hello(fd[i], i, how);
    }
    for (int i = 0; i < 2 && !(how & HOW_IDLE); i++)
        submit(&waits[i]);
    if (how & HOW_FETCH && !(how & HOW_STRANGER))
        t = want();
    say(fd[0], bytes, in.len);
    house_check();
    rank_one_answers(fd[1]);
    house_turn();
    house_check();
    close(fd[0]);
    close(fd[1]);
    house_turn();
    workers_fini(0);
    resident_close();
    FUZZ_CHECK(!t || brought == 1, "%u answers to a tensor that was wanted", brought);
    tensor_unref(t);
    house_close();
    fuzz_arena_empty();
    free(bytes);
    return 0;
}
