/* record.c - makes, copies and frees job records; their rates. */
#include "server/record.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct job_record *record_new(uint32_t n)
{
    struct job_record *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->n = n;
    r->owner = account_everybody();
    r->ranks = calloc(n ? n : 1, sizeof *r->ranks);
    if (!r->ranks) {
        free(r);
        return NULL;
    }
    return r;
}

/* A malloc'd copy of bytes, or NULL; *failed is set when there was something to copy. */
static void *copy(const void *bytes, size_t size, bool *failed)
{
    void *to = bytes ? malloc(size ? size : 1) : NULL;

    if (to)
        memcpy(to, bytes, size);
    else if (bytes)
        *failed = true;
    return to;
}

struct job_record *record_copy(const struct job_record *r)
{
    bool failed = false;
    struct job_record *to = copy(r, sizeof *r, &failed);

    if (!to)
        return NULL;
    to->ranks = copy(r->ranks, r->n * sizeof *r->ranks, &failed);
    to->error = copy(r->error, sizeof *r->error, &failed);
    to->came_us = copy(r->came_us, r->n * sizeof *r->came_us, &failed);
    to->times = copy(r->times, r->n * sizeof *r->times, &failed);
    to->kept = copy(r->kept, r->n * sizeof *r->kept, &failed);
    to->awaits = copy(r->awaits, r->n_awaits * sizeof *r->awaits, &failed);
    to->outputs = copy(r->outputs, r->n * sizeof *r->outputs, &failed);
    if (failed) {
        record_free(to);
        return NULL;
    }
    return to;
}

void record_free(struct job_record *r)
{
    if (!r)
        return;
    free(r->ranks);
    free(r->error);
    free(r->outputs);
    free(r->times);
    free(r->kept);
    free(r->awaits);
    free(r->came_us);
    free(r);
}

double record_algbw(const struct job_record *r)
{
    uint64_t in_bytes, out_bytes;

    if (r->state != JOB_succeeded || r->collective_us == 0)
        return 0;
    in_bytes = shape_count(&r->in_shape) * dtypes[r->dtype].size_bytes;
    out_bytes = shape_count(&r->out_shape) * dtypes[r->dtype].size_bytes;
    return (double)op_algo_bytes(in_bytes, out_bytes) / (double)r->collective_us / 1e3;
}

double record_busbw(const struct job_record *r)
{
    return record_algbw(r) * op_bus_factor(r->op, r->n);
}

bool record_gives(const struct job_record *r, uint32_t i)
{
    return !r->nothing && op_gives(r->op, &r->params, i);
}

bool record_has_tensor(const struct job_record *r)
{
    return r->op->in != PARTY_NOBODY && (!r->called || r->shaped);
}

bool record_gets(const struct job_record *r, uint32_t i)
{
    return !r->nothing && op_gets(r->op, &r->params, i);
}

bool record_shares_output(const struct job_record *r)
{
    return r->mask != MASK_AFTER && op_shares_output(r->op);
}

bool record_is_view(const struct job_record *r)
{
    return r->mask == MASK_NONE && op_is_view(r->op, &r->params, r->n, &r->in_shape);
}

uint32_t record_needs(const struct job_record *r)
{
    return r->mask == MASK_NONE ? r->n : 2 * r->n;
}

const struct shape *record_need_shape(const struct job_record *r, uint32_t i)
{
    return i >= r->n && r->mask == MASK_AFTER ? &r->out_shape : &r->in_shape;
}

bool record_keeps(const struct job_record *r)
{
    return r->mask != MASK_NONE || op_keeps_inputs(r->op);
}

bool record_calls(const struct job_record *r, uint32_t i)
{
    return !op_takes_peers(r->op) || i == r->params.src || i == r->params.dst;
}

void record_no_tensor(struct job_record *r)
{
    r->dtype = DTYPE_uint8;
    r->in_shape = r->out_shape = (struct shape){.ndim = 1};
    r->shaped = true;
}
