/* turns.h - the end of a peer that hosts.py measures in turns: a rank does nothing until it is told
 * how many rounds of which size to run, and then says when each began and ended. For C and C++.
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

struct turn {
    uint64_t bytes, rounds; /* bytes 0: the end */
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
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

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

/* How many elements are not the sum over so many ranks. */
static inline uint64_t turns_wrong(const float *sum, size_t n, uint32_t ranks)
{
    uint64_t wrong = 0;

    for (size_t i = 0; i < n; i++)
        wrong += sum[i] != (float)(ranks * (ranks - 1) / 2 * 1000 + ranks * (i % 997));
    return wrong;
}

/* times: begin and end of every round. */
static inline void turns_tell(int fd, uint64_t wrong, uint64_t *times, uint64_t rounds)
{
    turns_all(fd, &wrong, sizeof wrong, 1);
    turns_all(fd, times, rounds * 2 * sizeof *times, 1);
}

#endif
