/* plan.c - what moves.c and reduces.c make plans from: stations, streams, slices. */
#include "worker/gloo/plan.h"
#include "schema/layout.h"

#include <stdlib.h>

#define CHUNK_BYTES (512u << 10)
#define CHUNK_MIN_BYTES (128u << 10)
/* Of a stream that is not large: enough for its stations to work side by side. */
#define CHUNKS 8
#define LINE 64u
#define SPREAD (1u << 23) /* tags from here on are plan_spread's */

static plan_fn *const plans[KIND_COUNT] = {
#define X(KIND, kind) [KIND_##KIND] = plan_##kind,
    KINDS(X)
#undef X
};

int plan_of(struct plan *p, const struct map *m, struct task *const *tasks, uint32_t n,
            struct err *e)
{
    *p = (struct plan){0};
    for (uint32_t i = 0; i < n; i++) {
        struct sketch k = {.plan = p, .map = m, .task = tasks[i], .in_batch = i};

        plans[tasks[i]->op->kind](&k);
    }
    return p->failed ? err_set(e, ERR_no_memory, "the plan of %u tasks", n) : 0;
}

void plan_free(struct plan *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        free(p->stations[i]->terms);
        free(p->stations[i]->to);
        free(p->stations[i]);
    }
    free(p->stations);
    *p = (struct plan){0};
}

/* Room for one more of n items of that size, which grow by doubling. */
static void *grown(const struct sketch *k, void *items, uint32_t n, size_t size)
{
    void *more = items;

    if ((n & (n - 1)) == 0) /* 0, 1, 2, 4: the room is used up */
        more = realloc(items, (n ? 2 * (size_t)n : 1) * size);
    if (!more)
        k->plan->failed = true;
    return more;
}

struct station *plan_station(const struct sketch *k, const struct stream *s, uint32_t hops)
{
    struct plan *p = k->plan;
    struct station **all = grown(k, p->stations, p->n, sizeof(struct station *));
    struct station *made;

    if (!all)
        return NULL;
    p->stations = all;
    made = calloc(1, sizeof *made);
    if (!made) {
        p->failed = true;
        return NULL;
    }
    p->stations[p->n++] = made;
    made->task = k->task;
    made->in_batch = k->in_batch;
    made->first = s->first + hops * PLAN_LEAD;
    made->items = s->items;
    made->chunk = s->chunk;
    made->item_bytes = s->item_bytes;
    made->in = made->kept = plan_whole(s->items * s->item_bytes);
    return made;
}

static void add_term(const struct sketch *k, struct station *s, struct term term)
{
    struct term *all = s ? grown(k, s->terms, s->n_terms, sizeof *all) : NULL;

    if (!all)
        return;
    s->terms = all;
    s->terms[s->n_terms++] = term;
}

void plan_here(const struct sketch *k, struct station *s, const uint8_t *here)
{
    add_term(k, s, (struct term){.here = here});
}

void plan_from(const struct sketch *k, struct station *s, uint32_t peer, uint32_t tag)
{
    add_term(k, s, (struct term){.peer = peer, .tag = tag});
}

void plan_to(const struct sketch *k, struct station *s, uint32_t peer, uint32_t tag)
{
    struct hop *all = s ? grown(k, s->to, s->n_to, sizeof *all) : NULL;

    if (!all)
        return;
    s->to = all;
    s->to[s->n_to++] = (struct hop){.peer = peer, .tag = tag};
}

void plan_keep(struct station *s, uint8_t *out, struct rows how)
{
    if (!s)
        return;
    s->out = out;
    s->kept = how;
}

/* Those who are apart have one arena all the same: of several with one output the first writes it.
 */
static bool is_anothers(const struct sketch *k, const uint8_t *out)
{
    const struct task *t = k->task;

    for (uint32_t r = 0; k->map->apart && r < k->map->rank; r++) {
        if (t->outputs[r] == out)
            return true;
    }
    return false;
}

static bool is_view(const struct task *t, const uint8_t *out)
{
    for (uint32_t r = 0; r < t->n; r++) {
        if (t->inputs[r] && out >= t->inputs[r] && out < t->inputs[r] + t->in_bytes)
            return true;
    }
    return false;
}

uint8_t *plan_out(const struct sketch *k, uint32_t r)
{
    const struct map *m = k->map;
    uint8_t *out = k->task->outputs[r];

    if (!out || m->host[r] != m->host[m->rank] || is_anothers(k, out) || is_view(k->task, out))
        return NULL;
    return out;
}

struct stream plan_stream(uint64_t items, uint32_t item_bytes, uint32_t part_bytes)
{
    uint64_t bytes = items * part_bytes / CHUNKS;

    bytes = bytes < CHUNK_MIN_BYTES ? CHUNK_MIN_BYTES : bytes > CHUNK_BYTES ? CHUNK_BYTES : bytes;
    return (struct stream){.items = items,
                           .item_bytes = item_bytes,
                           .chunk = (bytes + LINE - 1) / LINE * LINE / part_bytes};
}

void plan_spread(const struct sketch *k, const struct stream *s, uint32_t hops, uint32_t host,
                 struct station *source, uint8_t *out, bool relay)
{
    const struct map *m = k->map;
    uint32_t last = map_speaker(m, host, s->lane);
    struct station *mine = source;

    for (uint32_t i = 1; i < m->n_hosts; i++) {
        uint32_t next = map_speaker(m, (host + i) % m->n_hosts, s->lane);
        uint32_t tag = SPREAD | (s->number * m->n_hosts + i);

        if (last == m->rank)
            plan_to(k, mine, next, tag);
        if (next == m->rank) {
            mine = plan_station(k, s, hops + (relay ? i : 1));
            plan_from(k, mine, last, tag);
            plan_keep(mine, out, plan_whole(s->items * s->item_bytes));
        }
        if (relay)
            last = next;
    }
}

struct rows plan_whole(uint64_t bytes)
{
    return (struct rows){.len = bytes, .stride = bytes};
}

struct rows plan_part(const struct task *t, const struct shape *part, uint32_t axis, uint32_t r)
{
    struct layout l = layout_of(part, axis);
    uint64_t len = l.axis * l.inner * dtypes[t->dtype].size_bytes;

    return (struct rows){.len = len, .stride = len * t->n, .offset = len * r};
}

void plan_slice(uint64_t items, uint32_t item_bytes, uint32_t slice, uint32_t of, uint64_t *lo,
                uint64_t *hi)
{
    uint64_t line = LINE / item_bytes, share = (items + of - 1) / of;

    share = (share + line - 1) / line * line;
    *lo = share * slice < items ? share * slice : items;
    *hi = *lo + share < items ? *lo + share : items;
}
