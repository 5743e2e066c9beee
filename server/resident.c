/* resident.c - tensors that live on devices: their copies, their way to the arena. */
#include "server/resident_parts.h"
#include "server/scheduler.h"
#include "server/store.h"
#include "server/workers_parts.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct residents residents;

struct resident *resident_of(const struct tensor *t)
{
    return t->home ? CORE_OWNER(t->home, struct resident, base) : NULL;
}

/* ---- by last use ---- */

static void list_leave(struct resident *h)
{
    *(h->newer ? &h->newer->older : &residents.newest) = h->older;
    *(h->older ? &h->older->newer : &residents.oldest) = h->newer;
}

static void list_enter(struct resident *h)
{
    h->newer = NULL;
    h->older = residents.newest;
    *(h->older ? &h->older->newer : &residents.oldest) = h;
    residents.newest = h;
}

void resident_touch(struct resident *h)
{
    list_leave(h);
    list_enter(h);
}

/* ---- copies ---- */

struct place *resident_copy_on(struct resident *h, uint32_t rank)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->place[i].live && h->place[i].rank == rank)
            return &h->place[i];
    }
    return NULL;
}

struct place *resident_any_copy(struct resident *h, const struct place *but)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->place[i].live && &h->place[i] != but)
            return &h->place[i];
    }
    return NULL;
}

static void forget_copy(struct resident *h, struct place *p)
{
    p->live = false;
    if (!resident_any_copy(h, NULL))
        atomic_store(&h->base.lost, true);
}

void resident_drop_copy(struct resident *h, struct place *p)
{
    static struct frame f; /* large */
    struct worker *w;

    forget_copy(h, p);
    if (workers.stopping) /* all devices are given up */
        return;
    w = &workers.rank[p->rank];
    if (w->info.epoch != p->epoch)
        return;
    worker_count_resident(w, -(int64_t)h->size_bytes);
    f = (struct frame){.type = FRAME_drop, .drop.tensor = h->number};
    if (w->peer)
        peer_send_frame(w->peer, &f);
}

static void on_gone(struct core_msg *m)
{
    struct resident *h = CORE_OWNER(m, struct resident, msg);
    struct place *p;

    assert(!h->fetching && h->in_use == 0);
    while ((p = resident_any_copy(h, NULL)))
        resident_drop_copy(h, p);
    list_leave(h);
    free(h);
    scheduler_freed(); /* there is room on those devices */
    scheduler_next();
}

/* Any thread. */
static void tensor_gone(struct residence *base)
{
    struct resident *h = CORE_OWNER(base, struct resident, base);

    h->msg.run = on_gone;
    if (atomic_load(&residents.closed))
        free(h);
    else
        core_post(&h->msg);
}

void resident_close(void)
{
    atomic_store(&residents.closed, true);
    while (residents.fetches) {
        struct resident *h = residents.fetches;

        residents.fetches = h->next_fetch;
        core_timer_clear(&h->timer);
        extent_unref(h->to);
        tensor_unref(h->fetching);
    }
}

int resident_make(struct tensor *t, const uint32_t *ranks, uint32_t n, struct err *e)
{
    struct resident *h = calloc(1, sizeof *h + n * sizeof h->place[0]);

    assert(core_here() && !t->extent && !t->home);
    if (!h)
        return err_set(e, ERR_no_memory, "a resident tensor");
    h->base.gone = tensor_gone;
    h->id = t->id;
    h->number = ++residents.last_number;
    h->size_bytes = t->size_bytes;
    h->n = n;
    for (uint32_t i = 0; i < n; i++) {
        struct worker *w = &workers.rank[ranks[i]];

        h->place[i] = (struct place){.rank = ranks[i], .epoch = w->info.epoch, .live = true};
        worker_count_resident(w, (int64_t)h->size_bytes);
    }
    list_enter(h);
    t->home = &h->base;
    return 0;
}

uint64_t resident_output(const struct tensor *t)
{
    return t && t->home ? resident_of(t)->number : 0;
}

/* ---- to the arena ---- */

static void fetch_took_too_long(struct core_timer *t)
{
    struct resident *h = CORE_OWNER(t, struct resident, timer);

    worker_lose(&workers.rank[h->from->rank], "no answer to FETCH");
}

static void send_fetch(struct resident *h, struct place *from)
{
    struct worker *w = &workers.rank[from->rank];
    static struct frame f; /* large */

    h->from = from;
    f = (struct frame){.type = FRAME_fetch};
    f.fetch.tensor = h->number;
    f.fetch.offset = extent_offset(h->to);
    f.fetch.bytes = h->size_bytes;
    h->timer.fire = fetch_took_too_long;
    core_timer_set(&h->timer, clock_us() + LIMIT_FETCH_MS * 1000ull);
    if (w->peer)
        peer_send_frame(w->peer, &f); /* without: its exit is about to be heard of */
}

int resident_fetch(struct resident *h, struct tensor *t, struct err *e)
{
    struct place *from = resident_any_copy(h, NULL);

    if (h->fetching)
        return 0;
    if (!from)
        return err_set(e, ERR_tensor_lost, "the workers that had the tensor have ended");
    if (extent_alloc(h->size_bytes, &h->to, e) != 0)
        return -1;
    extent_charge(h->to, t->owner);
    resident_touch(h);
    h->fetching = tensor_ref(t);
    h->next_fetch = residents.fetches;
    residents.fetches = h;
    send_fetch(h, from);
    return 0;
}

static void move_done(struct store_msg *m, const struct err *e)
{
    (void)e; /* then it is lost at a restart, and no sooner */
    free(CORE_OWNER(m, struct store_tensor_move, msg));
}

static void record_move(const struct tensor *t, const struct extent *x)
{
    struct store_tensor_move *m = calloc(1, sizeof *m);

    if (!m)
        return;
    store_tensor_move_init(m);
    m->id = t->id;
    m->extent_offset = extent_offset(x);
    m->extent_bytes = extent_size(x);
    m->offset = 0;
    m->msg.done = move_done;
    store_post(&m->msg);
}

static void answer(struct resident_wait *w, const struct err *why)
{
    w->rc = why ? -1 : 0;
    if (why)
        w->err = *why;
    w->done(w);
}

/* The bytes are in the arena, or (why) will never be. */
static void fetch_over(struct resident *h, const struct err *why)
{
    struct tensor *t = h->fetching;
    struct resident **at = &residents.fetches;
    struct resident_wait *waits = h->waits;

    core_timer_clear(&h->timer);
    while (*at != h)
        at = &(*at)->next_fetch;
    *at = h->next_fetch;
    h->fetching = NULL;
    h->waits = NULL;
    if (why) {
        extent_unref(h->to);
    } else {
        t->extent = h->to; /* the tensor's from now on; before a copy is dropped */
        record_move(t, h->to);
        if (h->evict)
            resident_drop_copy(h, h->from);
    }
    h->to = NULL;
    h->evict = false;
    while (waits) {
        struct resident_wait *w = waits;

        waits = w->next;
        answer(w, why);
    }
    tensor_unref(t);
    scheduler_freed();
    scheduler_next();
}

/* From another copy, or not at all. */
static void fetch_again(struct resident *h, const char *how)
{
    struct place *from = resident_any_copy(h, NULL);
    struct err why;

    if (from) {
        send_fetch(h, from);
        return;
    }
    err_set(&why, ERR_tensor_lost, "the tensor was on a device only, and is lost: %.200s", how);
    fetch_over(h, &why);
}

void resident_fetched(uint32_t world_rank, const struct frame_fetched *f)
{
    struct resident *h = residents.fetches;

    while (h && h->number != f->tensor)
        h = h->next_fetch;
    if (!h || h->from->rank != world_rank || h->from->epoch != f->epoch || !h->from->live)
        return; /* late */
    if (!f->code[0]) {
        fetch_over(h, NULL);
        return;
    }
    forget_copy(h, h->from);
    worker_count_resident(&workers.rank[world_rank], -(int64_t)h->size_bytes);
    fetch_again(h, f->detail);
}

void resident_rank_lost(uint32_t world_rank)
{
    struct resident *next;

    for (struct resident *h = residents.oldest; h; h = h->newer) {
        struct place *p = resident_copy_on(h, world_rank);

        if (p)
            forget_copy(h, p);
    }
    worker_count_resident(&workers.rank[world_rank], INT64_MIN);
    for (struct resident *h = residents.fetches; h; h = next) {
        next = h->next_fetch;
        if (h->from->rank == world_rank)
            fetch_again(h, "its worker has ended");
    }
}

static void on_wanted(struct core_msg *m)
{
    struct resident_wait *w = CORE_OWNER(m, struct resident_wait, msg);
    struct resident *h = resident_of(w->tensor);
    struct err e;

    if (!tensor_away(w->tensor)) {
        err_set(&e, ERR_tensor_lost, "the tensor was on a device whose worker has ended");
        answer(w, w->tensor->extent ? NULL : &e);
    } else if (resident_fetch(h, w->tensor, &e) != 0) {
        answer(w, &e);
    } else {
        w->next = h->waits;
        h->waits = w;
    }
}

void resident_want(struct resident_wait *w)
{
    w->msg.run = on_wanted;
    core_post(&w->msg);
}
