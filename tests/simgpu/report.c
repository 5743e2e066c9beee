/* report.c - complaints, faults that were armed, and what the process did, told at its end. */
#include "tests/simgpu/simgpu.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SPANS_MAX 65536

static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;

struct span {
    uint64_t from_ns, to_ns;
    enum simgpu_engine engine;
};

static struct {
    uint32_t complaints;
    uint64_t bytes[SIMGPU_ENGINES];
    uint64_t launches, collectives, communicators;
    int live_communicators;
    struct span span[SPANS_MAX];
    uint32_t spans;
} report;

uint64_t simgpu_env(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : fallback;
}

void simgpu_sleep_us(uint64_t us)
{
    nanosleep(&(struct timespec){.tv_sec = (time_t)(us / 1000000),
                                 .tv_nsec = (long)(us % 1000000) * 1000},
              NULL);
}

/* One write, so that lines of several processes do not mix. */
static void append(const char *file, const char *text)
{
    const char *directory = getenv("SIMGPU_REPORT");
    char path[512];
    int fd;

    if (!directory || !*directory)
        return;
    snprintf(path, sizeof path, "%s/%s", directory, file);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        if (write(fd, text, strlen(text)) < 0)
            perror("simgpu: report");
        close(fd);
    }
}

void simgpu_misuse(const char *call, const char *format, ...)
{
    char what[700], line[900];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(line, sizeof line, "simgpu: MISUSE in %s: %s [device %d, pid %d]\n", call, what,
             simgpu_device_number(), (int)getpid());
    fputs(line, stderr);
    append("complaints", line);
    __atomic_fetch_add(&report.complaints, 1, __ATOMIC_RELAXED);
}

void simgpu_note(const char *format, ...)
{
    char what[700];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    fprintf(stderr, "simgpu: %s [device %d]\n", what, simgpu_device_number());
}

static atomic_bool must_end;

/* The file names one fault; whoever removes it has it. */
bool simgpu_fault(const char *kind, uint64_t *arg)
{
    const char *path = getenv("SIMGPU_FAULT");
    char word[32] = "";
    unsigned long long number = 0;
    int device = -1;
    FILE *f = path && *path ? fopen(path, "re") : NULL;

    if (!f)
        return false;
    if (fscanf(f, "%d %31s %llu", &device, word, &number) < 2)
        device = -1;
    fclose(f);
    if (device != simgpu_device_number() || strcmp(word, kind) != 0 || unlink(path) != 0)
        return false;
    if (arg)
        *arg = number;
    simgpu_note("fault: %s %llu", kind, number);
    return true;
}

/* ---- counters ---- */

void simgpu_count_work(enum simgpu_engine engine, uint64_t bytes, uint64_t from_ns, uint64_t to_ns)
{
    pthread_mutex_lock(&report_lock);
    report.bytes[engine] += bytes;
    if (report.spans < SPANS_MAX)
        report.span[report.spans++] = (struct span){from_ns, to_ns, engine};
    pthread_mutex_unlock(&report_lock);
}

void simgpu_count_launch(uint32_t collectives)
{
    __atomic_fetch_add(&report.launches, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&report.collectives, collectives, __ATOMIC_RELAXED);
}

void simgpu_count_communicator(int change)
{
    __atomic_fetch_add(&report.live_communicators, change, __ATOMIC_RELAXED);
    if (change > 0)
        __atomic_fetch_add(&report.communicators, 1, __ATOMIC_RELAXED);
}

/* ---- the end ---- */

static int by_moment(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return x[0] < y[0] ? -1 : x[0] > y[0];
}

/* Virtual time with at least one engine busy, and with at least two. */
static void overlap(uint64_t *one_ns, uint64_t *two_ns)
{
    uint64_t(*edge)[2] = calloc(2 * (size_t)report.spans + 1, sizeof *edge), last = 0;
    uint32_t n = 0, busy[SIMGPU_ENGINES] = {0};

    *one_ns = *two_ns = 0;
    for (uint32_t i = 0; edge && i < report.spans; i++) {
        edge[n][0] = report.span[i].from_ns;
        edge[n++][1] = report.span[i].engine;
        edge[n][0] = report.span[i].to_ns;
        edge[n++][1] = (uint64_t)report.span[i].engine + SIMGPU_ENGINES;
    }
    if (edge)
        qsort(edge, n, sizeof *edge, by_moment);
    for (uint32_t i = 0; edge && i < n; i++) {
        uint32_t engines = 0;

        for (int e = 0; e < SIMGPU_ENGINES; e++)
            engines += busy[e] > 0;
        *one_ns += engines >= 1 ? edge[i][0] - last : 0;
        *two_ns += engines >= 2 ? edge[i][0] - last : 0;
        last = edge[i][0];
        if (edge[i][1] < SIMGPU_ENGINES)
            busy[edge[i][1]]++;
        else
            busy[edge[i][1] - SIMGPU_ENGINES]--;
    }
    free(edge);
}

static void write_counters(void)
{
    char text[900], file[40];
    uint64_t one_ns, two_ns;

    overlap(&one_ns, &two_ns);
    snprintf(
        text, sizeof text,
        "{\"device\": %d, \"complaints\": %u, \"in_bytes\": %llu, \"out_bytes\": %llu, "
        "\"device_bytes\": %llu, \"nccl_bytes\": %llu, \"launches\": %llu, \"collectives\": %llu, "
        "\"communicators\": %llu, \"busy_ns\": %llu, \"overlapped_ns\": %llu, "
        "\"socket_ifname\": \"%s\"}\n",
        simgpu_device_number(), report.complaints, (unsigned long long)report.bytes[SIMGPU_COPY_IN],
        (unsigned long long)report.bytes[SIMGPU_COPY_OUT],
        (unsigned long long)report.bytes[SIMGPU_COPY_DEVICE],
        (unsigned long long)report.bytes[SIMGPU_NCCL], (unsigned long long)report.launches,
        (unsigned long long)report.collectives, (unsigned long long)report.communicators,
        (unsigned long long)one_ns, (unsigned long long)two_ns,
        getenv("NCCL_SOCKET_IFNAME") ? getenv("NCCL_SOCKET_IFNAME") : "");
    snprintf(file, sizeof file, "%d.json", (int)getpid());
    append(file, text);
}

void simgpu_must_end(void)
{
    atomic_store(&must_end, true);
}

/* After main and its atexit handlers. _exit, since a status cannot be changed any other way here;
 * what stdio holds is written first. */
__attribute__((destructor)) static void tell(void)
{
    if (simgpu_device_number() < 0)
        return; /* no GPU was ever used */
    /* A broken device frees nothing, and a process whose NCCL is broken has only to end. */
    if (simgpu_device_error() == cudaSuccess && !atomic_load(&must_end)) {
        if (simgpu_report_nccl)
            simgpu_report_nccl();
        if (report.live_communicators > 0)
            simgpu_misuse("exit", "%d communicators were never destroyed",
                          report.live_communicators);
        simgpu_report_streams();
        simgpu_report_memory();
    }
    write_counters();
    if (report.complaints > 0) {
        fflush(NULL);
        _exit(SIMGPU_MISUSE_EXIT);
    }
}
