/* steady.c - wall time that never jumps: by it tensors and records are removed. */
#include "server/steady.h"

#include "schema/clock.h"

#include <stdatomic.h>

#define AGREE_US 1000000

/* Core thread's: the time, and the clock_us() at which it was right. */
static uint64_t now_us, mono_us;

/* The one less the other, for every thread; 0: not started. */
static _Atomic int64_t base_us;

static uint64_t set(uint64_t now, uint64_t mono)
{
    now_us = now;
    mono_us = mono;
    atomic_store(&base_us, (int64_t)(now - mono));
    return now;
}

void steady_start(void)
{
    set(clock_wall_us(), clock_us());
}

void steady_stop(void)
{
    atomic_store(&base_us, 0);
}

uint64_t steady_now_us(void)
{
    uint64_t mono = clock_us(), wall = clock_wall_us(), step = mono - mono_us;
    uint64_t slowest = now_us + step / 2, fastest = now_us + 2 * step;

    return set(wall < slowest ? slowest : wall > fastest ? fastest : wall, mono);
}

uint64_t steady_due_us(uint64_t wall_us, uint64_t keep_us)
{
    int64_t base = atomic_load(&base_us);
    int64_t ahead = base ? base + (int64_t)(clock_us() - clock_wall_us()) : 0;
    uint64_t at;

    if (ahead > AGREE_US || ahead < -AGREE_US)
        wall_us += (uint64_t)ahead;
    return __builtin_add_overflow(wall_us, keep_us, &at) ? UINT64_MAX : at;
}
