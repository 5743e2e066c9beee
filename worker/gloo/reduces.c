/* reduces.c - plans of the collectives that combine elements.
 *
 * All are in rank order, so that the bits are those of one machine. There are three ways, and
 * cost.c knows which is the cheapest: meet    every input goes to every host that wants the result:
 * one hop slices  every host gets its share of all inputs, its own combined first, and sends the
 * result round: where one host's ranks may be combined first, two hops and the fewest bytes chain
 * accumulators pass the ranks in their order, from host to host, and the result goes round
 */
#include "schema/layout.h"
#include "worker/gloo/cost.h"
#include "worker/gloo/plan.h"
#include "worker/reduce_part.h"

#define RELAY_BYTES (128u << 10)

/* One reduction of the same bytes of every input. */
struct sum {
    const struct sketch *k;
    struct stream s;
    uint64_t at;    /* the first byte in every input */
    struct rows in; /* the bytes from there on */
    uint32_t tag;   /* its first; it has n */
};

static uint32_t item_bytes(const struct task *t)
{
    return dtypes[t->dtype].size_bytes;
}

static struct sum sum_of(const struct sketch *k, uint64_t items, uint64_t at, struct rows in,
                         uint32_t number, uint32_t lane)
{
    const struct task *t = k->task;
    uint32_t part = dtypes[reduce_part_dtype(t->dtype, t->op->reduce)].size_bytes;
    struct sum x = {.k = k, .at = at, .in = in, .tag = number * t->n};

    x.s = plan_stream(items, item_bytes(t), part);
    x.s.number = number;
    x.s.lane = lane;
    return x;
}

static struct station *station_of(const struct sum *x, uint32_t hops, bool reduces)
{
    struct station *made = plan_station(x->k, &x->s, hops);

    if (made) {
        made->reduces = reduces;
        made->in = x->in;
    }
    return made;
}

static void here(const struct sum *x, struct station *made, uint32_t rank)
{
    plan_here(x->k, made, x->k->task->inputs[rank] + x->at);
}

/* What a station made of a reduction is one row. */
static void keep(const struct sum *x, struct station *made, uint8_t *out)
{
    plan_keep(made, out, plan_whole(x->s.items * x->s.item_bytes));
}

/* ---- meet ---- */

static void meet_give(const struct sum *x, uint32_t q, uint32_t to)
{
    struct station *made;

    if (q != x->k->map->rank)
        return;
    made = station_of(x, 0, false);
    here(x, made, q);
    plan_to(x->k, made, to, x->tag + q);
}

/* All inputs to one rank, which keeps the result. */
static void meet(const struct sum *x, uint32_t at, uint8_t *out)
{
    const struct map *m = x->k->map;
    struct station *made = NULL;

    if (at == m->rank) {
        made = station_of(x, 1, true);
        keep(x, made, out);
    }
    for (uint32_t q = 0; q < m->n; q++) {
        if (m->host[q] != m->host[at])
            meet_give(x, q, at);
        if (at == m->rank && m->host[q] == m->host[at])
            here(x, made, q);
        else if (at == m->rank)
            plan_from(x->k, made, q, x->tag + q);
    }
}

/* ---- slices ---- */

/* Every host's share to one rank; the station there, or NULL. */
static struct station *shares(const struct sum *x, uint32_t at, uint8_t *out)
{
    const struct map *m = x->k->map;
    struct station *made = NULL;

    if (at == m->rank) {
        made = station_of(x, 1, true);
        keep(x, made, out);
    }
    for (uint32_t h = 0; h < m->n_hosts; h++) {
        uint32_t giver = map_speaker(m, h, x->s.lane);
        bool whole = h == m->host[at];
        struct station *given = made;

        if (!whole && giver == m->rank) {
            given = station_of(x, 0, map_size(m, h) > 1);
            plan_to(x->k, given, at, x->tag + h);
        }
        for (uint32_t i = 0; i < map_size(m, h) && (whole ? at : giver) == m->rank; i++)
            here(x, given, m->member[m->first[h] + i]);
        if (!whole && at == m->rank)
            plan_from(x->k, made, giver, x->tag + h);
    }
    return made;
}

/* ---- chain ---- */

static uint32_t run_speaker(const struct sum *x, uint32_t run)
{
    const struct map *m = x->k->map;

    return map_speaker(m, m->host[m->run[run]], x->s.lane);
}

/* The station where the result is, when it is here. It has no place for it yet. */
static struct station *chain(const struct sum *x)
{
    const struct map *m = x->k->map;
    uint32_t runs = m->n_runs;
    struct station *made = NULL;

    for (uint32_t i = 0; i < runs; i++) {
        made = NULL;
        if (run_speaker(x, i) != m->rank)
            continue;
        made = station_of(x, i, true);
        if (!made)
            return NULL;
        made->parts_in = i > 0;
        made->parts_out = i + 1 < runs;
        if (i > 0)
            plan_from(x->k, made, run_speaker(x, i - 1), x->tag + i);
        for (uint32_t r = m->run[i]; r < m->run[i + 1]; r++)
            here(x, made, r);
        if (i + 1 < runs)
            plan_to(x->k, made, run_speaker(x, i + 1), x->tag + i + 1);
    }
    return made;
}

/* As chain, and to one rank, which keeps it. */
static void chain_to(const struct sum *x, uint32_t at, uint8_t *out)
{
    const struct map *m = x->k->map;
    uint32_t runs = m->n_runs, last = run_speaker(x, runs - 1);
    struct station *made = chain(x);

    if (m->host[last] == m->host[at]) { /* which has that memory too */
        keep(x, made, out);
        return;
    }
    plan_to(x->k, made, at, x->tag);
    if (at == m->rank) {
        struct station *taken = station_of(x, runs, false);

        plan_from(x->k, taken, last, x->tag);
        keep(x, taken, out);
    }
}

/* ---- the three kinds ---- */

/* With one rank every reduction is the identity, and its output a view. */
static bool is_nothing(const struct sketch *k)
{
    const struct task *t = k->task;

    return t->out_bytes == 0 || (t->n == 1 && t->outputs[0] == t->inputs[0]);
}

static uint8_t *offset(uint8_t *out, uint64_t bytes)
{
    return out ? out + bytes : NULL;
}

static void all_reduce_slice(const struct sketch *k, enum way way, uint32_t slice, uint32_t of)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    uint32_t size = item_bytes(t), lane = slice % m->lanes, host = slice / m->lanes;
    struct station *source;
    uint64_t lo, hi;
    struct sum x;
    uint8_t *out;

    plan_slice(t->out_bytes / size, size, slice, of, &lo, &hi);
    if (lo == hi)
        return;
    out = offset(plan_out(k, m->rank), lo * size);
    x = sum_of(k, hi - lo, lo * size, plan_whole((hi - lo) * size), slice, lane);
    if (way == WAY_SLICES) {
        source = shares(&x, map_speaker(m, host, lane), out);
        plan_spread(k, &x.s, 1, host, source, out, false);
        return;
    }
    source = chain(&x);
    host = m->host[m->n - 1];
    keep(&x, source, out);
    plan_spread(k, &x.s, m->n_runs - 1, host, source, out, t->out_bytes >= RELAY_BYTES);
}

void plan_all_reduce(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    enum way way = cost_all_reduce(m, t);
    uint32_t slices = m->lanes * (way == WAY_SLICES ? m->n_hosts : 1);

    if (is_nothing(k))
        return;
    if (way == WAY_MEET) {
        struct sum x = sum_of(k, t->out_bytes / item_bytes(t), 0, plan_whole(t->out_bytes), 0, 0);

        for (uint32_t h = 0; h < m->n_hosts; h++)
            meet(&x, map_speaker(m, h, 0), plan_out(k, m->rank));
        return;
    }
    for (uint32_t i = 0; i < slices; i++)
        all_reduce_slice(k, way, i, slices);
}

void plan_reduce(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    enum way way = cost_reduce(m, t);
    uint32_t size = item_bytes(t), lanes = m->lanes;
    uint8_t *out = plan_out(k, 0);

    if (is_nothing(k))
        return;
    for (uint32_t lane = 0; lane < lanes; lane++) {
        uint32_t at = map_speaker(m, m->host[0], lane);
        uint64_t lo, hi;
        struct sum x;

        plan_slice(t->out_bytes / size, size, lane, lanes, &lo, &hi);
        if (lo == hi)
            continue;
        x = sum_of(k, hi - lo, lo * size, plan_whole((hi - lo) * size), lane, lane);
        if (way == WAY_MEET)
            meet(&x, at, offset(out, lo * size));
        else
            chain_to(&x, at, offset(out, lo * size));
    }
}

void plan_reduce_scatter(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    enum way way = cost_reduce_scatter(m, t);
    uint32_t axis = op_axis(t->params.split_axis, t->in.ndim);

    if (is_nothing(k))
        return;
    for (uint32_t p = 0; p < m->n; p++) {
        struct rows part = plan_part(t, &t->out, axis, p);
        struct sum x = sum_of(k, t->out_bytes / item_bytes(t), 0, part, p, m->place[p]);

        if (way == WAY_MEET)
            meet(&x, p, plan_out(k, p));
        else if (way == WAY_SLICES)
            shares(&x, p, plan_out(k, p));
        else
            chain_to(&x, p, plan_out(k, p));
    }
}
