/* given.c - a job's inputs, kept past their end. */
#include "server/given.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

uint32_t given_count(const struct job_record *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n; i++)
        n += record_gives(r, i);
    return n;
}

uint64_t given_input_bytes(const struct job_record *r)
{
    return shape_count(&r->in_shape) * dtypes[r->dtype].size_bytes;
}

static bool all_there(const struct job_record *r, struct tensor *const *inputs)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const struct tensor *t = inputs ? inputs[i] : NULL;

        if (record_gives(r, i) && (!t || t->promise || tensor_lost(t)))
            return false;
    }
    return true;
}

static bool are_small(const struct job_record *r, struct tensor *const *inputs)
{
    uint64_t one = given_input_bytes(r);

    if (one > LIMIT_GIVEN_BYTES || one * given_count(r) > LIMIT_GIVEN_BYTES)
        return false;
    for (uint32_t i = 0; i < r->n; i++) {
        if (record_gives(r, i) && one > 0 && !tensor_data(inputs[i]))
            return false;
    }
    return true;
}

/* Returns 0, or -1 out of memory. */
static int copy_bytes(struct given *g, const struct job_record *r, struct tensor *const *inputs)
{
    uint64_t one = given_input_bytes(r);

    g->bytes = malloc(one * given_count(r) + 1);
    for (uint32_t i = 0; g->bytes && i < r->n; i++) {
        if (!record_gives(r, i) || one == 0)
            continue;
        memcpy(g->bytes + g->size, tensor_data(inputs[i]), one);
        g->size += one;
    }
    return g->bytes ? 0 : -1;
}

static int copy_ids(struct given *g, const struct job_record *r, struct tensor *const *inputs)
{
    g->ids = calloc(r->n, sizeof *g->ids);
    for (uint32_t i = 0; g->ids && i < r->n; i++) {
        if (record_gives(r, i))
            g->ids[i] = inputs[i]->id;
    }
    return g->ids ? 0 : -1;
}

struct given *given_of(const struct job_record *r, struct tensor *const *inputs)
{
    struct given *g = all_there(r, inputs) ? calloc(1, sizeof *g) : NULL;

    if (!g)
        return NULL;
    if ((are_small(r, inputs) ? copy_bytes(g, r, inputs) : copy_ids(g, r, inputs)) == 0)
        return g;
    given_free(g);
    return NULL;
}

void given_free(struct given *g)
{
    if (!g)
        return;
    free(g->bytes);
    free(g->ids);
    free(g);
}
