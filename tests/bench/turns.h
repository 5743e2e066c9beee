/* turns.h - the end of a peer that hosts.py and machine.py measure in turns: a rank does nothing
 * until it is told how many rounds of which operation and size to run, and then says when each
 * began and ended. For C and C++.
 *
 * A rank that waits sleeps in read(2), so that it takes nothing from the peer whose turn it is.
 */
#ifndef TUTTI_TESTS_BENCH_TURNS_H
#define TUTTI_TESTS_BENCH_TURNS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TURNS_ROUNDS 1024 /* at most so many a turn */

/* peers.py has the same order. */
enum turns_op { TURNS_ALL_REDUCE, TURNS_ALL_GATHER, TURNS_REDUCE_SCATTER, TURNS_ALL_TO_ALL };

struct turn {
    uint64_t op, bytes, rounds; /* bytes of float32 that each rank gives; 0: the end */
};

/* A turn as one rank sees it. */
struct turns_job {
    enum turns_op op;
    uint32_t rank, ranks;
    size_t n, n_out; /* floats of its input and of its output */
    float *in, *out;
};

static inline uint64_t turns_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void turns_all(int fd, void *at, size_t n, int writes)
{
    char *p = (char *)at;

    while (n > 0) {
        ssize_t some = writes ? write(fd, p, n) : read(fd, p, n);

        if (some <= 0)
            exit(3);
        p += some;
        n -= (size_t)some;
    }
}

/* Says hello at the socket `path` as this rank. */
static inline int turns_open(const char *path, uint32_t rank)
{
    struct sockaddr_un to;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sun_family = AF_UNIX;
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        exit(3);
    turns_all(fd, &rank, sizeof rank, 1);
    return fd;
}

static inline struct turn turns_wait(int fd)
{
    struct turn t;

    turns_all(fd, &t, sizeof t, 0);
    if (t.rounds > TURNS_ROUNDS)
        exit(3);
    return t;
}

/* What rank r has at i: whole numbers, so that a sum is exact in any order. */
static inline float turns_value(uint32_t rank, size_t i)
{
    return (float)(rank * 1000 + i % 997);
}

/* Its input, and an output that nobody has written to; ends the process when there is no memory. */
static inline struct turns_job turns_begin(struct turn t, uint32_t rank, uint32_t ranks)
{
    struct turns_job j = {(enum turns_op)t.op, rank, ranks, 0, 0, NULL, NULL};

    j.n = j.n_out = t.bytes / sizeof(float);
    if (j.op == TURNS_ALL_GATHER)
        j.n_out = j.n * ranks;
    if (j.op == TURNS_REDUCE_SCATTER)
        j.n_out = j.n / ranks;
    j.in = (float *)malloc(j.n * sizeof(float));
    j.out = (float *)malloc(j.n_out * sizeof(float));
    if (!j.in || !j.out)
        exit(3);
    for (size_t i = 0; i < j.n; i++)
        j.in[i] = turns_value(rank, i);
    memset(j.out, 0xa5, j.n_out * sizeof(float));
    return j;
}

static inline float turns_sum(uint32_t ranks, size_t i)
{
    return (float)(ranks * (ranks - 1) / 2 * 1000 + ranks * (i % 997));
}

static inline float turns_wanted(const struct turns_job *j, size_t i)
{
    size_t part = j->n / j->ranks;

    switch (j->op) {
    case TURNS_ALL_GATHER:
        return turns_value((uint32_t)(i / j->n), i % j->n);
    case TURNS_REDUCE_SCATTER:
        return turns_sum(j->ranks, j->rank * part + i);
    case TURNS_ALL_TO_ALL:
        return turns_value((uint32_t)(i / part), j->rank * part + i % part);
    default:
        return turns_sum(j->ranks, i);
    }
}

/* Frees what turns_begin took. Returns how many elements of the output are wrong. */
static inline uint64_t turns_end(struct turns_job *j)
{
    uint64_t wrong = 0;

    for (size_t i = 0; i < j->n_out; i++)
        wrong += j->out[i] != turns_wanted(j, i);
    free(j->in);
    free(j->out);
    return wrong;
}

/* times: begin and end of every round. */
static inline void turns_tell(int fd, uint64_t wrong, uint64_t *times, uint64_t rounds)
{
    turns_all(fd, &wrong, sizeof wrong, 1);
    turns_all(fd, times, rounds * 2 * sizeof *times, 1);
}

#endif
