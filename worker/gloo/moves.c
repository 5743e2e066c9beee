/* moves.c - plans of the collectives that only move bytes: every byte comes to a host once. */
#include "worker/gloo/plan.h"

#define RELAY_BYTES (128u << 10) /* from here on one host passes it to the next */

/* Bytes that lie here, as rows. */
static struct station *give(const struct sketch *k, const struct stream *s, const uint8_t *here,
                            struct rows in)
{
    struct station *made = plan_station(k, s, 0);

    plan_here(k, made, here);
    if (made)
        made->in = in;
    return made;
}

static void take(const struct sketch *k, const struct stream *s, uint32_t peer, uint32_t tag,
                 uint8_t *out, struct rows kept)
{
    struct station *made = plan_station(k, s, 1);

    plan_from(k, made, peer, tag);
    plan_keep(made, out, kept);
}

/* Within this host's memory. */
static void copy(const struct sketch *k, const struct stream *s, const uint8_t *here,
                 struct rows in, uint8_t *out, struct rows kept)
{
    if (out)
        plan_keep(give(k, s, here, in), out, kept);
}

static struct stream bytes_of(uint64_t bytes)
{
    return plan_stream(bytes, 1, 1);
}

/* ---- the one input to every output, as it is ---- */

void plan_broadcast(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    uint8_t *out = plan_out(k, m->rank);

    for (uint32_t lane = 0; lane < m->lanes; lane++) {
        struct station *source = NULL;
        struct stream s;
        uint64_t lo, hi;

        plan_slice(t->in_bytes, 1, lane, m->lanes, &lo, &hi);
        if (lo == hi)
            continue;
        s = bytes_of(hi - lo);
        s.number = s.lane = lane;
        if (map_speaker(m, m->host[0], lane) == m->rank) {
            source = give(k, &s, t->inputs[0] + lo, plan_whole(hi - lo));
            plan_keep(source, out ? out + lo : NULL, plan_whole(hi - lo));
        }
        plan_spread(k, &s, 0, m->host[0], source, out ? out + lo : NULL,
                    t->in_bytes >= RELAY_BYTES);
    }
}

void plan_send_recv(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    uint32_t src = t->params.src, dst = t->params.dst;
    struct stream s = bytes_of(t->in_bytes);
    struct rows whole = plan_whole(t->in_bytes);

    if (m->host[src] == m->host[dst]) {
        if (m->rank == dst)
            copy(k, &s, t->inputs[src], whole, plan_out(k, dst), whole);
        return;
    }
    if (m->rank == src)
        plan_to(k, give(k, &s, t->inputs[src], whole), dst, 0);
    if (m->rank == dst)
        take(k, &s, src, 0, plan_out(k, dst), whole);
}

/* The server's count of DONEs is all that ranks meet at. */
void plan_barrier(const struct sketch *k)
{
    (void)k;
}

/* ---- joined ---- */

/* Rank q's input, to its place in the output of a host, where a rank fetches it. */
static void join_to(const struct sketch *k, uint32_t q, uint32_t host, struct station *given)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    uint32_t to = map_speaker(m, host, m->place[q]), getter = t->outputs[m->rank] ? m->rank : 0;
    uint32_t axis = op_axis(t->params.concat_axis, t->in.ndim);
    struct stream s = bytes_of(t->in_bytes);

    if (q == m->rank)
        plan_to(k, given, to, q);
    if (to == m->rank)
        take(k, &s, q, q, plan_out(k, getter), plan_part(t, &t->in, axis, q));
}

void plan_all_gather(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    uint32_t axis = op_axis(t->params.concat_axis, t->in.ndim);
    struct stream s = bytes_of(t->in_bytes);

    for (uint32_t q = 0; q < m->n; q++) {
        struct station *given = NULL;

        if (q == m->rank) {
            given = give(k, &s, t->inputs[q], plan_whole(t->in_bytes));
            plan_keep(given, plan_out(k, q), plan_part(t, &t->in, axis, q));
        }
        for (uint32_t i = 1; i < m->n_hosts; i++)
            join_to(k, q, (m->host[q] + i) % m->n_hosts, given);
    }
}

void plan_gather(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    uint32_t axis = op_axis(t->params.concat_axis, t->in.ndim);
    struct stream s = bytes_of(t->in_bytes);
    struct rows whole = plan_whole(t->in_bytes);

    for (uint32_t q = 0; q < m->n; q++) {
        bool at_root = m->host[q] == m->host[0];

        if (at_root && q == m->rank)
            copy(k, &s, t->inputs[q], whole, plan_out(k, 0), plan_part(t, &t->in, axis, q));
        if (!at_root)
            join_to(k, q, m->host[0], q == m->rank ? give(k, &s, t->inputs[q], whole) : NULL);
    }
}

/* ---- split ---- */

void plan_scatter(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    uint32_t axis = op_axis(t->params.split_axis, t->in.ndim);
    struct stream s = bytes_of(t->out_bytes);
    struct rows whole = plan_whole(t->out_bytes);

    for (uint32_t r = 0; r < m->n; r++) {
        struct rows part = plan_part(t, &t->out, axis, r);
        uint32_t giver = map_speaker(m, m->host[0], m->place[r]);

        if (m->host[r] == m->host[0]) {
            if (r == m->rank)
                copy(k, &s, t->inputs[0], part, plan_out(k, r), whole);
            continue;
        }
        if (giver == m->rank)
            plan_to(k, give(k, &s, t->inputs[0], part), r, r);
        if (r == m->rank)
            take(k, &s, giver, r, plan_out(k, r), whole);
    }
}

/* ---- both ---- */

/* Large pieces go by turns, so that in each every rank gives to one and takes from one. */
static uint32_t turn(const struct map *m, const struct stream *s, uint32_t from, uint32_t to)
{
    uint32_t chunks = (uint32_t)((s->items + s->chunk - 1) / s->chunk);

    return s->items < RELAY_BYTES ? 0 : (to + m->n - from) % m->n * chunks;
}

void plan_all_to_all(const struct sketch *k)
{
    const struct task *t = k->task;
    const struct map *m = k->map;
    uint32_t split = op_axis(t->params.split_axis, t->in.ndim), me = m->rank;
    uint32_t concat = op_axis(t->params.concat_axis, t->in.ndim);
    struct stream s = bytes_of(t->in_bytes / t->n);
    struct shape part = t->in;

    part.dim[split] /= t->n;
    for (uint32_t r = 0; r < m->n; r++) {
        struct rows mine = plan_part(t, &part, split, r), joined = plan_part(t, &part, concat, r);

        if (m->host[r] == m->host[me]) {
            copy(k, &s, t->inputs[r], plan_part(t, &part, split, me), plan_out(k, me), joined);
            continue;
        }
        s.first = turn(m, &s, me, r);
        plan_to(k, give(k, &s, t->inputs[me], mine), r, 0);
        s.first = turn(m, &s, r, me);
        take(k, &s, r, 0, plan_out(k, me), joined);
        s.first = 0;
    }
}
