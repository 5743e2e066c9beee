/* resident_room.c - what a job finds of resident tensors: its inputs where its ranks can take them,
 * and room on its ranks' devices. */
#include "server/resident_parts.h"
#include "server/workers_parts.h"

#include <inttypes.h>

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
    if (t->extent || resident_any_copy(h, p)) {
        resident_drop_copy(h, p);
        bytes = h->size_bytes;
    } else if (resident_fetch(h, t, e) == 0) {
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

    for (struct resident *h = residents.fetches; h; h = h->next_fetch) {
        if (h->evict && h->from->rank == w->info.rank)
            coming += h->size_bytes;
    }
    for (struct resident *h = residents.oldest, *next; h; h = next) {
        struct place *p = resident_copy_on(h, w->info.rank);

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
    if (!r->resident || r->mask != MASK_NONE ||
        workers.rank[r->ranks[0]].info.gpu.memory_bytes == 0)
        return false;
    for (uint32_t i = 0; i < r->n && workers.remote > 0; i++) {
        if (workers.rank[r->ranks[i]].host)
            return false; /* a fetch goes to the server's arena, which it does not see */
    }
    return true;
}

bool resident_too_large(const struct job_record *r, uint64_t bytes)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (record_gets(r, i) && bytes > limit_of(&workers.rank[r->ranks[i]]))
            return true;
    }
    return false;
}

uint64_t resident_input(const struct job *j, uint32_t i)
{
    const struct job_record *r = j->record;
    struct resident *h = j->inputs[i] ? resident_of(j->inputs[i]) : NULL;
    const struct worker *w = &workers.rank[r->ranks[i]];
    struct place *p = h ? resident_copy_on(h, r->ranks[i]) : NULL;

    /* A view lies in the arena, in its input; masks are applied there. */
    if (!p || p->epoch != w->info.epoch || r->mask != MASK_NONE ||
        (!resident_stays(r) && record_is_view(r)))
        return 0;
    return h->number;
}

void resident_hold(const struct job *j, bool begin)
{
    for (uint32_t i = 0; j->inputs && i < record_needs(j->record); i++) {
        struct resident *h = j->inputs[i] ? resident_of(j->inputs[i]) : NULL;

        if (!h)
            continue;
        h->in_use += begin ? 1 : -1u;
        resident_touch(h);
    }
}

/* Each input is in the arena, or on the device that wants it. As resident_prepare. */
static int bring_inputs(struct job *j, struct err *e)
{
    uint32_t n = j->record->n;
    int rc = 0;

    for (uint32_t i = 0; i < record_needs(j->record); i++) {
        struct tensor *t = j->inputs ? j->inputs[i] : NULL;

        if (!t || !t->home || t->extent || (i < n && resident_input(j, i)))
            continue;
        if (tensor_lost(t)) {
            err_set(e, ERR_inputs_lost,
                    "the input of rank %u was on a device whose worker has ended", i % n);
            return err_rank(e, i % n);
        }
        if (resident_fetch(resident_of(t), t, e) != 0)
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
        int room = record_gets(r, i) ? make_room(&workers.rank[r->ranks[i]], bytes, e) : 0;

        rc = room != 0 ? room : rc;
    }
    resident_hold(j, false);
    return rc;
}
