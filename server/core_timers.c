/* core_timers.c - a binary heap of intrusive timers: set, move and clear in O(log n). */
#include "server/core_timers.h"
#include "schema/log.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

/* heap[1] is due first; heap[0] is not used, so that slot 0 can mean "not set". */
static struct {
    struct core_timer **heap;
    size_t count, cap;
} timers;

static void place(struct core_timer *t, size_t slot)
{
    timers.heap[slot] = t;
    t->slot = slot;
}

static void sift_up(struct core_timer *t, size_t slot)
{
    while (slot > 1 && timers.heap[slot / 2]->at_us > t->at_us) {
        place(timers.heap[slot / 2], slot);
        slot /= 2;
    }
    place(t, slot);
}

static void sift_down(struct core_timer *t, size_t slot)
{
    for (;;) {
        size_t child = 2 * slot;

        if (child > timers.count)
            break;
        if (child < timers.count && timers.heap[child + 1]->at_us < timers.heap[child]->at_us)
            child++;
        if (timers.heap[child]->at_us >= t->at_us)
            break;
        place(timers.heap[child], slot);
        slot = child;
    }
    place(t, slot);
}

static void restore_order(struct core_timer *t, size_t slot)
{
    if (slot > 1 && timers.heap[slot / 2]->at_us > t->at_us)
        sift_up(t, slot);
    else
        sift_down(t, slot);
}

static void make_room(void)
{
    size_t cap = timers.cap ? 2 * timers.cap : 64;
    struct core_timer **heap;

    if (timers.count + 1 < timers.cap)
        return;
    heap = realloc(timers.heap, cap * sizeof *heap);
    if (!heap) {
        /* A deadline that is forgotten would hang a client: a restart is the smaller harm. */
        log_error("out of memory for %zu timers; exiting", cap);
        _exit(71);
    }
    timers.heap = heap;
    timers.cap = cap;
}

void core_timer_set(struct core_timer *t, uint64_t at_us)
{
    assert(core_here());
    t->at_us = at_us;
    if (t->slot != 0) {
        restore_order(t, t->slot);
        return;
    }
    make_room();
    sift_up(t, ++timers.count);
}

void core_timer_clear(struct core_timer *t)
{
    struct core_timer *last;
    size_t slot = t->slot;

    assert(core_here());
    if (slot == 0)
        return;
    t->slot = 0;
    last = timers.heap[timers.count--];
    if (last != t)
        restore_order(last, slot);
}

uint64_t core_timers_next(void)
{
    return timers.count ? timers.heap[1]->at_us : UINT64_MAX;
}

void core_timers_fire(uint64_t now_us)
{
    while (timers.count && timers.heap[1]->at_us <= now_us) {
        struct core_timer *t = timers.heap[1];

        core_timer_clear(t);
        t->fire(t);
    }
}

void core_timers_fini(void)
{
    free(timers.heap);
    timers.heap = NULL;
    timers.count = timers.cap = 0;
}
