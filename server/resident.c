/* resident.c - tensors that live on devices. */
#include "server/resident.h"
#include "server/scheduler.h"
#include "server/store.h"
#include "server/workers_parts.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A copy: on the device of this rank's worker of that time. */
struct place {
    uint32_t rank;
    uint64_t epoch;
    bool live;
};

struct resident {
    struct residence base;
    struct core_msg msg; /* the tensor was freed */
    struct id id;
    uint64_t number, size_bytes;    /* number: on the link, never used again */
    uint32_t in_use;                /* jobs that run with it */
    struct resident *newer, *older; /* by last use */
    /* On its way to the arena: */
    struct tensor *fetching; /* a reference; NULL: it is not */
    struct extent *to;
    struct place *from;
    bool evict; /* then it leaves that device */
    struct core_timer timer;
    struct resident_wait *waits;
    struct resident *next_fetch;
    uint32_t n;
    struct place place[];
};

static struct {
    struct resident *newest, *oldest, *fetches;
    uint64_t last_number;
    atomic_bool closed;
} res;

static struct resident *resident_of(const struct tensor *t)
{
    return t->home ? CORE_OWNER(t->home, struct resident, base) : NULL;
}

/* ---- by last use ---- */

static void list_leave(struct resident *h)
{
    *(h->newer ? &h->newer->older : &res.newest) = h->older;
    *(h->older ? &h->older->newer : &res.oldest) = h->newer;
}

static void list_enter(struct resident *h)
{
    h->newer = NULL;
    h->older = res.newest;
    *(h->older ? &h->older->newer : &res.oldest) = h;
    res.newest = h;
}

static void touch(struct resident *h)
{
    list_leave(h);
    list_enter(h);
}

/* ---- copies ---- */

static struct place *copy_on(struct resident *h, uint32_t rank)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->place[i].live && h->place[i].rank == rank)
            return &h->place[i];
    }
    return NULL;
}

static struct place *any_copy(struct resident *h, const struct place *but)
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
    if (!any_copy(h, NULL))
        atomic_store(&h->base.lost, true);
}

static void drop_copy(struct resident *h, struct place *p)
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
    while ((p = any_copy(h, NULL)))
        drop_copy(h, p);
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
    if (atomic_load(&res.closed))
        free(h);
    else
        core_post(&h->msg);
}

void resident_close(void)
{
    atomic_store(&res.closed, true);
    while (res.fetches) {
        struct resident *h = res.fetches;

        res.fetches = h->next_fetch;
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
    h->number = ++res.last_number;
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

/* Begins to bring t to the arena, if that has not begun. Returns 0, or -1 with ERR_arena_full or
 * ERR_tensor_lost. */
static int fetch(struct resident *h, struct tensor *t, struct err *e)
{
    struct place *from = any_copy(h, NULL);

    if (h->fetching)
        return 0;
    if (!from)
        return err_set(e, ERR_tensor_lost, "the workers that had the tensor have ended");
    if (extent_alloc(h->size_bytes, &h->to, e) != 0)
        return -1;
    touch(h);
    h->fetching = tensor_ref(t);
    h->next_fetch = res.fetches;
    res.fetches = h;
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
    struct resident **at = &res.fetches;
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
            drop_copy(h, h->from);
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
    struct place *from = any_copy(h, NULL);
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
    struct resident *h = res.fetches;

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

    for (struct resident *h = res.oldest; h; h = h->newer) {
        struct place *p = copy_on(h, world_rank);

        if (p)
            forget_copy(h, p);
    }
    worker_count_resident(&workers.rank[world_rank], INT64_MIN);
    for (struct resident *h = res.fetches; h; h = next) {
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
    } else if (fetch(h, w->tensor, &e) != 0) {
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

/* ---- room ---- */

static uint64_t limit_of(const struct worker *w)
{
    uint64_t asked = workers.options.resident_bytes;

    return asked ? asked : w->info.gpu.memory_bytes / 2;
}

/* Makes this one leave the rank's device, now or once it is in the arena. Returns the bytes of room
 * to come, 0 when it has to stay. */
static uint64_t evict(struct resident *h, struct place *p, struct err *e)
{
    struct tensor *t = h->in_use == 0 && !h->fetching ? tensor_find(&h->id) : NULL;
    uint64_t bytes = 0;

    if (!t)
        return 0;
    if (t->extent || any_copy(h, p)) {
        drop_copy(h, p);
        bytes = h->size_bytes;
    } else if (fetch(h, t, e) == 0) {
        h->evict = true;
        bytes = h->size_bytes;
    }
    tensor_unref(t);
    return bytes;
}

/* 0: there is room for so many bytes on the rank's device; 1: soon; -1 with e: not while things are
 * as they are. */
static int make_room(struct worker *w, uint64_t need, struct err *e)
{
    uint64_t limit = limit_of(w), coming = 0;
    struct err why = {0};

    for (struct resident *h = res.fetches; h; h = h->next_fetch) {
        if (h->evict && h->from->rank == w->info.rank)
            coming += h->size_bytes;
    }
    for (struct resident *h = res.oldest, *next; h; h = next) {
        struct place *p = copy_on(h, w->info.rank);

        next = h->newer;
        if (w->info.resident_bytes + need <= limit + coming)
            break;
        if (p && evict(h, p, &why) && h->evict)
            coming += h->size_bytes;
    }
    if (w->info.resident_bytes + need <= limit)
        return 0;
    if (coming > 0)
        return 1;
    err_set(e, ERR_device_full,
            "an output of %" PRIu64 " bytes is to stay on the device of world rank %u, which may "
            "hold %" PRIu64 " and has %" PRIu64 " free%s",
            need, w->info.rank, limit,
            limit > w->info.resident_bytes ? limit - w->info.resident_bytes : 0,
            why.code == ERR_arena_full ? "; the arena is full, so nothing can move there" : "");
    e->asked_bytes = need;
    e->free_bytes = limit > w->info.resident_bytes ? limit - w->info.resident_bytes : 0;
    return -1;
}

/* ---- jobs ---- */

bool resident_stays(const struct job_record *r)
{
    return r->resident && workers.rank[r->ranks[0]].info.gpu.memory_bytes > 0;
}

bool resident_too_large(const struct job_record *r, uint64_t bytes)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (op_gets(r->op, &r->params, i) && bytes > limit_of(&workers.rank[r->ranks[i]]))
            return true;
    }
    return false;
}

uint64_t resident_input(const struct job *j, uint32_t i)
{
    const struct job_record *r = j->record;
    struct resident *h = j->inputs[i] ? resident_of(j->inputs[i]) : NULL;
    const struct worker *w = &workers.rank[r->ranks[i]];
    struct place *p = h ? copy_on(h, r->ranks[i]) : NULL;

    /* A view lies in the arena, in its input. */
    if (!p || p->epoch != w->info.epoch ||
        (!resident_stays(r) && op_is_view(r->op, &r->params, r->n, &r->in_shape)))
        return 0;
    return h->number;
}

void resident_hold(const struct job *j, bool begin)
{
    for (uint32_t i = 0; j->inputs && i < j->record->n; i++) {
        struct resident *h = j->inputs[i] ? resident_of(j->inputs[i]) : NULL;

        if (!h)
            continue;
        h->in_use += begin ? 1 : -1u;
        touch(h);
    }
}

/* Each input is in the arena, or on the device that wants it. As resident_prepare. */
static int bring_inputs(struct job *j, struct err *e)
{
    int rc = 0;

    for (uint32_t i = 0; i < j->record->n; i++) {
        struct tensor *t = j->inputs ? j->inputs[i] : NULL;

        if (!t || !t->home || t->extent || resident_input(j, i))
            continue;
        if (tensor_lost(t)) {
            err_set(e, ERR_inputs_lost,
                    "the input of rank %u was on a device whose worker has ended", i);
            return err_rank(e, i);
        }
        if (fetch(resident_of(t), t, e) != 0)
            return -1;
        rc = 1;
    }
    return rc;
}

int resident_prepare(struct job *j, struct err *e)
{
    const struct job_record *r = j->record;
    uint64_t bytes = shape_count(&r->out_shape) * dtypes[r->dtype].size_bytes;
    int rc = bring_inputs(j, e);

    if (rc != 0 || !resident_stays(r))
        return rc;
    resident_hold(j, true); /* its inputs do not make room for its outputs */
    for (uint32_t i = 0; i < r->n && rc >= 0; i++) {
        int room = op_gets(r->op, &r->params, i) ? make_room(&workers.rank[r->ranks[i]], bytes, e)
                                                 : 0;

        rc = room != 0 ? room : rc;
    }
    resident_hold(j, false);
    return rc;
}
