/* clock.c - the one time base of both programs. */
#include "schema/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_ns(void)
{
    return now_ns(CLOCK_MONOTONIC);
}

uint64_t clock_us(void)
{
    return now_ns(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_wall_us(void)
{
    return now_ns(CLOCK_REALTIME) / 1000;
}

const char *clock_format(uint64_t wall_us, char buf[CLOCK_TEXT])
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    char date[20]; /* "2026-11-24T00:15:02" */

    gmtime_r(&seconds, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf, CLOCK_TEXT, "%s.%06uZ", date, (unsigned)(wall_us % 1000000));
    return buf;
}
