/* cost.c - the hops and the bytes of each way, and how many bytes a hop is worth. */
#include "worker/gloo/cost.h"
#include "worker/reduce_part.h"

#include <stdlib.h>
#include <string.h>

/* A hop costs as much as so many bytes on the busiest host's link: tests/bench/hosts.py measures
 * from which size on one way beats the other. */
#define HOP_BYTES 40960.0

#define DEAR 1e30 /* the way does not keep the order */

/* For the benchmark, and tests that go every way. */
static bool forced(enum way *way)
{
    static const char *const names[] = {
        [WAY_MEET] = "meet", [WAY_SLICES] = "slices", [WAY_CHAIN] = "chain"};
    const char *wish = getenv("TUTTI_GLOO_WAY");

    for (uint32_t i = 0; wish && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(wish, names[i]) == 0) {
            *way = (enum way)i;
            return true;
        }
    }
    return false;
}

/* May the ranks of each host be combined before those of others? */
static bool by_hosts(const struct map *m, const struct task *t)
{
    return m->largest == 1 || reduce_any_order(t->dtype, t->op->reduce);
}

static enum way cheapest(const double cost[3])
{
    enum way best = WAY_CHAIN, wish;

    if (forced(&wish) && cost[wish] < DEAR)
        return wish;
    for (enum way w = WAY_MEET; w <= WAY_CHAIN; w++) {
        if (cost[w] < cost[best])
            best = w;
    }
    return best;
}

/* Bytes of an accumulator, by those of an element. */
static double swelling(const struct task *t)
{
    return (double)dtypes[reduce_part_dtype(t->dtype, t->op->reduce)].size_bytes /
           dtypes[t->dtype].size_bytes;
}

enum way cost_all_reduce(const struct map *m, const struct task *t)
{
    double bytes = (double)t->out_bytes, hosts = m->n_hosts, others = m->n - m->lanes;
    double passed = m->n_runs <= 2 ? 1 : 2; /* by the busiest, a middle one: sums and results */
    const double cost[3] = {
        [WAY_MEET] = HOP_BYTES + bytes * others,
        [WAY_SLICES] = by_hosts(m, t) ? 2 * HOP_BYTES + 2 * bytes * (hosts - 1) / hosts : DEAR,
        [WAY_CHAIN] = (m->n_runs - 1 + hosts - 1) * HOP_BYTES +
                      bytes * (swelling(t) + passed - 1) * (m->n_runs > m->n_hosts ? 2 : 1),
    };

    return cheapest(cost);
}

enum way cost_reduce(const struct map *m, const struct task *t)
{
    double bytes = (double)t->out_bytes;
    const double cost[3] = {
        [WAY_MEET] = HOP_BYTES + bytes * (m->n - map_size(m, m->host[0])),
        [WAY_SLICES] = DEAR,
        [WAY_CHAIN] = m->n_runs * HOP_BYTES + bytes * swelling(t),
    };

    return cheapest(cost);
}

enum way cost_reduce_scatter(const struct map *m, const struct task *t)
{
    double bytes = (double)t->in_bytes, hosts = m->n_hosts;
    const double cost[3] = {
        [WAY_MEET] = HOP_BYTES + bytes * m->largest * (hosts - 1) / hosts,
        [WAY_SLICES] = by_hosts(m, t) ? HOP_BYTES * 1.01 + bytes * (hosts - 1) / hosts : DEAR,
        [WAY_CHAIN] = m->n_runs * HOP_BYTES + bytes * swelling(t),
    };

    return cheapest(cost);
}
