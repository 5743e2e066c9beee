/* memory.c - what this machine's memory can do, as the measure for the collectives: copies, and the
 * sum of N arrays (N reads and one write per element), by the best of several ways.
 *
 *   memory N MIB ROUNDS    one line of JSON: bytes per second of one array, of each round
 *
 *   copy_GBps   bytes copied, of N arrays into N others
 *   add_GBps    bytes of one input array, of N arrays added into another
 *
 * On shared memory of ordinary pages, as the arena is, by as many threads as there are cores.
 */
#include <immintrin.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define N_MAX 8
#define THREADS_MAX 64
#define FLOATS_PER_LINE 16u
#define AHEAD_BYTES 1024

enum way { COPY, COPY_STREAM, ADD, ADD_STREAM, ADD_PLAIN, ADD_STREAM_PLAIN, WAYS };

static struct {
    unsigned n, threads, rounds;
    size_t floats; /* of one array */
    float *in[N_MAX], *out[N_MAX];
    pthread_barrier_t barrier;
} bench;

static struct share {
    unsigned thread;
    size_t from, to; /* floats */
} shares[THREADS_MAX];

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

__attribute__((target("avx2"))) static void copy_stream(float *out, const float *in, size_t floats)
{
    for (size_t i = 0; i < floats; i += FLOATS_PER_LINE / 2)
        _mm256_stream_ps(out + i, _mm256_load_ps(in + i));
    _mm_sfence();
}

/* A cache line of each array at a time; fetched a little ahead: a fifth faster than without on one
 * machine, a fourth slower on another. Both are constants where it is inlined. */
__attribute__((target("avx2"), always_inline)) static inline void
add_inline(const struct share *s, const bool stream, const bool ahead)
{
    for (size_t i = s->from; i < s->to; i += FLOATS_PER_LINE) {
        __m256 low = _mm256_load_ps(bench.in[0] + i), high = _mm256_load_ps(bench.in[0] + i + 8);

        for (unsigned k = 0; k < bench.n && ahead; k++)
            _mm_prefetch((const char *)(bench.in[k] + i) + AHEAD_BYTES, _MM_HINT_T0);
        for (unsigned k = 1; k < bench.n; k++) {
            low = _mm256_add_ps(low, _mm256_load_ps(bench.in[k] + i));
            high = _mm256_add_ps(high, _mm256_load_ps(bench.in[k] + i + 8));
        }
        if (stream) {
            _mm256_stream_ps(bench.out[0] + i, low);
            _mm256_stream_ps(bench.out[0] + i + 8, high);
        } else {
            _mm256_store_ps(bench.out[0] + i, low);
            _mm256_store_ps(bench.out[0] + i + 8, high);
        }
    }
    _mm_sfence();
}

__attribute__((target("avx2"))) static void add_cached(const struct share *s)
{
    add_inline(s, false, true);
}

__attribute__((target("avx2"))) static void add_stream(const struct share *s)
{
    add_inline(s, true, true);
}

__attribute__((target("avx2"))) static void add_plain(const struct share *s)
{
    add_inline(s, false, false);
}

__attribute__((target("avx2"))) static void add_stream_plain(const struct share *s)
{
    add_inline(s, true, false);
}

static void work(enum way way, const struct share *s)
{
    size_t floats = s->to - s->from;

    if (way == ADD)
        add_cached(s);
    if (way == ADD_STREAM)
        add_stream(s);
    if (way == ADD_PLAIN)
        add_plain(s);
    if (way == ADD_STREAM_PLAIN)
        add_stream_plain(s);
    for (unsigned k = 0; k < bench.n && way == COPY; k++)
        memcpy(bench.out[k] + s->from, bench.in[k] + s->from, floats * sizeof(float));
    for (unsigned k = 0; k < bench.n && way == COPY_STREAM; k++)
        copy_stream(bench.out[k] + s->from, bench.in[k] + s->from, floats);
}

/* Every thread runs every way of every round; the first one takes the time. */
static double seconds[WAYS][64];

static void *run(void *arg)
{
    const struct share *s = arg;

    for (unsigned round = 0; round < bench.rounds; round++) {
        for (enum way way = 0; way < WAYS; way++) {
            double begun;

            pthread_barrier_wait(&bench.barrier);
            begun = now_s();
            work(way, s);
            pthread_barrier_wait(&bench.barrier);
            if (s->thread == 0)
                seconds[way][round] = now_s() - begun;
        }
    }
    return NULL;
}

static int arrays_open(void)
{
    size_t bytes = bench.floats * sizeof(float);

    for (unsigned k = 0; k < 2 * bench.n; k++) {
        int fd = memfd_create("memory", MFD_CLOEXEC);
        void *at = MAP_FAILED;

        if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
            at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (fd >= 0)
            close(fd);
        if (at == MAP_FAILED)
            return -1;
        memset(at, 0, bytes);
        *(k < bench.n ? &bench.in[k] : &bench.out[k - bench.n]) = at;
    }
    return 0;
}

/* By the best of the ways from a to b. */
static void print(const char *name, double bytes, enum way a, enum way b)
{
    printf("\"%s\":[", name);
    for (unsigned round = 0; round < bench.rounds; round++) {
        double least = seconds[a][round];

        for (enum way way = a + 1; way <= b; way++)
            least = seconds[way][round] < least ? seconds[way][round] : least;
        printf("%s%.4f", round ? "," : "", bytes / least / 1e9);
    }
    printf("]");
}

int main(int argc, char *argv[])
{
    pthread_t ids[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t bytes, part;

    bench.n = argc == 4 ? (unsigned)atoi(argv[1]) : 0;
    bench.floats = argc == 4 ? strtoull(argv[2], NULL, 10) << 18 : 0;
    bench.rounds = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
    bench.threads = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (unsigned)cores;
    if (bench.n < 1 || bench.n > N_MAX || bench.rounds < 1 || bench.rounds > 64 ||
        bench.floats == 0 || !__builtin_cpu_supports("avx2")) {
        fprintf(stderr, "usage: memory N MIB ROUNDS, on a processor with AVX2\n");
        return 1;
    }
    bytes = bench.floats * sizeof(float);
    part = bench.floats / bench.threads / FLOATS_PER_LINE * FLOATS_PER_LINE;
    if (arrays_open() != 0) {
        perror("memory");
        return 1;
    }
    pthread_barrier_init(&bench.barrier, NULL, bench.threads);
    for (unsigned t = 0; t < bench.threads; t++) {
        shares[t] = (struct share){t, t * part,
                                   t + 1 == bench.threads ? bench.floats : (t + 1) * part};
        pthread_create(&ids[t], NULL, run, &shares[t]);
    }
    for (unsigned t = 0; t < bench.threads; t++)
        pthread_join(ids[t], NULL);
    printf("{\"threads\":%u,", bench.threads);
    print("copy_GBps", (double)bytes * bench.n, COPY, COPY_STREAM);
    printf(",");
    print("add_GBps", (double)bytes, ADD, ADD_STREAM_PLAIN);
    printf("}\n");
    return 0;
}
