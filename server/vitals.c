/* vitals.c - this process as /proc shows it. */
#include "server/vitals.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static uint64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (!dir)
        return 0;
    for (const struct dirent *d; (d = readdir(dir));)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* not the one that looks */
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* From the state, field 3 of proc_pid_stat(5), to field 19. */
#define SKIP_17 " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"

/* Behind the name, which may hold anything: threads are field 20, the start is 22. */
static void read_stat(struct vitals *out)
{
    unsigned long long start = 0, threads = 0, virtual = 0;
    long long resident = 0;
    char text[1024] = "";
    const char *at;
    FILE *f = fopen("/proc/self/stat", "re");

    if (!f)
        return;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    at = strrchr(text, ')');
    if (!at || sscanf(at + 1, SKIP_17 " %llu %*s %llu %llu %lld", &threads, &start, &virtual,
                      &resident) != 4)
        return;
    out->threads = threads;
    out->virtual_bytes = virtual;
    out->resident_bytes = (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
    out->started_seconds = seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME) +
                           (double)start / (double)sysconf(_SC_CLK_TCK);
}

void vitals_read(struct vitals *out)
{
    struct rusage usage;
    struct rlimit files;

    *out = (struct vitals){.open_fds = count_fds()};
    read_stat(out);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        out->cpu_seconds = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        out->max_fds = files.rlim_cur;
}
