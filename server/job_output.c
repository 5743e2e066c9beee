/* job_output.c - a job's output tensors: their extents, their names, their publication. */
#include "server/job_parts.h"
#include "server/region.h"
#include "server/resident.h"
#include "server/steady.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bytes_of(const struct job_record *r)
{
    return shape_count(&r->out_shape) * dtypes[r->dtype].size_bytes;
}

static uint64_t output_bytes(const struct job *j)
{
    return bytes_of(j->record);
}

static bool is_view(const struct job_record *r)
{
    return !resident_stays(r) && record_is_view(r);
}

/* A piece of the one input: no byte is allocated. */
static struct tensor *view_of_input(const struct job *j, uint32_t rank)
{
    const struct job_record *r = j->record;
    const struct tensor *in = NULL;
    uint64_t at = op_view_offset(r->op, &r->params, r->n, rank, &r->in_shape);

    for (uint32_t i = 0; i < r->n && !in; i++) {
        if (record_gives(r, i))
            in = j->inputs[i];
    }
    return tensor_new(r->dtype, &r->out_shape, in->extent,
                      in->offset + at * dtypes[r->dtype].size_bytes);
}

/* One on the rank's device; one that all share on each rank's. */
static struct tensor *resident_output_of(const struct job_record *r, uint32_t rank, struct err *e)
{
    struct tensor *t = tensor_new(r->dtype, &r->out_shape, NULL, 0);
    bool shared = record_shares_output(r);

    if (t && resident_make(t, shared ? r->ranks : r->ranks + rank, shared ? r->n : 1, e) == 0)
        return t;
    tensor_unref(t);
    return NULL;
}

/* What was set aside for it pays: no byte counts twice, for however short a time. */
static void pay(struct job *j, struct extent *x)
{
    uint64_t bytes = extent_cost(extent_size(x));

    assert(j->reserved_bytes >= bytes);
    j->reserved_bytes -= bytes;
    extent_paid(x, j->record->owner);
}

static struct tensor *new_output(struct job *j, uint32_t rank, struct err *e)
{
    const struct job_record *r = j->record;
    struct extent *x = NULL;
    struct tensor *t;

    if (is_view(r)) {
        t = view_of_input(j, rank);
    } else if (resident_stays(r)) {
        t = resident_output_of(r, rank, e);
    } else {
        if (j->results)
            x = extent_ref(j->results[rank]); /* whose region pays */
        else if (extent_alloc(output_bytes(j), &x, e) != 0)
            return NULL;
        else
            pay(j, x);
        t = tensor_new(r->dtype, &r->out_shape, x, 0);
        extent_unref(x); /* the tensor has its own reference */
    }
    if (!t)
        err_set(e, ERR_no_memory, "an output tensor");
    else
        t->owner = r->owner;
    if (t)
        t->job = r->id;
    return t;
}

static int check_inputs(const struct job *j, struct err *e)
{
    const struct job_record *r = j->record;

    for (uint32_t i = 0; i < record_needs(r); i++) {
        const struct tensor *t = j->inputs ? j->inputs[i] : NULL;

        if ((i >= r->n || record_gives(r, i)) && (!t || tensor_lost(t))) {
            err_set(e, ERR_inputs_lost, "the input of rank %u is gone", i % r->n);
            return err_rank(e, i % r->n);
        }
    }
    return 0;
}

/* That the outputs take of the arena where they are made there; UINT64_MAX when there is no such
 * number. Any thread. */
static uint64_t all_bytes_of(const struct job_record *r)
{
    uint64_t one = extent_cost(bytes_of(r)), all = 0;

    for (uint32_t i = 0; i < r->n; i++) {
        if (!record_gets(r, i) || (all && record_shares_output(r)))
            continue;
        if (__builtin_add_overflow(all, one, &all))
            return UINT64_MAX;
    }
    return all;
}

static uint64_t all_bytes(const struct job *j)
{
    const struct job_record *r = j->record;

    return j->results || is_view(r) || resident_stays(r) ? 0 : all_bytes_of(r);
}

/* Whether they would stay on devices only the core can say: of one that asks for it none are made.
 */
void job_outputs_warm(const struct job_record *r)
{
    uint64_t bytes = r->resident || record_is_view(r) ? 0 : all_bytes_of(r);

    if (bytes >= LIMIT_CHUNK_BYTES)
        extent_warm(bytes);
}

/* For the next try, before its outputs are given back. */
static void set_aside_again(struct job *j)
{
    uint64_t bytes = all_bytes(j);

    account_force(j->record->owner, USE_arena, bytes - j->reserved_bytes);
    j->reserved_bytes = bytes;
}

int job_outputs_make(struct job *j, struct err *e)
{
    const struct job_record *r = j->record;
    struct tensor *shared = NULL;

    if (check_inputs(j, e) != 0)
        return -1;
    j->outputs = calloc(r->n, sizeof *j->outputs);
    if (!j->outputs)
        return err_set(e, ERR_no_memory, "outputs of %u ranks", r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        if (!record_gets(r, i))
            continue;
        j->outputs[i] = shared ? tensor_ref(shared) : new_output(j, i, e);
        if (!j->outputs[i]) {
            set_aside_again(j);
            job_outputs_drop(j);
            return -1;
        }
        if (record_shares_output(r))
            shared = j->outputs[i];
    }
    return 0;
}

bool job_outputs_too_large(const struct job *j)
{
    struct extent_usage usage;

    if (resident_stays(j->record))
        return resident_too_large(j->record, output_bytes(j));
    extent_usage(&usage);
    return all_bytes(j) > usage.arena_bytes;
}

/* ---- what the owner may use ---- */

int job_reserve(struct job *j, struct err *e)
{
    uint64_t bytes = all_bytes(j);

    assert(j->reserved_bytes == 0);
    if (account_take(j->record->owner, USE_arena, bytes, e) != 0)
        return -1;
    j->reserved_bytes = bytes;
    return 0;
}

void job_reserve_again(struct job *j)
{
    assert(j->reserved_bytes == 0);
    j->reserved_bytes = all_bytes(j);
    account_force(j->record->owner, USE_arena, j->reserved_bytes);
}

void job_unreserve(struct job *j)
{
    account_give_back(j->record->owner, USE_arena, j->reserved_bytes);
    j->reserved_bytes = 0;
}

/* The distinct outputs: equal ones of a shared output stand side by side, but for nulls. */
static struct tensor *next_distinct(const struct job *j, uint32_t *i, const struct tensor *last)
{
    for (; *i < j->record->n; ++*i) {
        if (j->outputs[*i] && j->outputs[*i] != last)
            return j->outputs[(*i)++];
    }
    return NULL;
}

/* Results in a region whose client has left are for nobody who would not come at once. */
static uint64_t expiry(const struct job *j, const struct tensor *t)
{
    struct region *r = region_of(t->extent);
    uint64_t retain_us = job_retain_us(), left_us = LIMIT_REGION_LEFT_S * 1000000ull;

    return steady_due_us(j->record->finished_us,
                         r && region_is_left(r) && retain_us > left_us ? left_us : retain_us);
}

void job_outputs_name(struct job *j)
{
    struct tensor *t = NULL;

    for (uint32_t i = 0; i < j->record->n; i++) {
        if (j->outputs[i])
            j->record->outputs[i] = j->outputs[i]->id;
    }
    for (uint32_t i = 0; (t = next_distinct(j, &i, t));)
        tensor_expire(t, expiry(j, t));
}

static void publish(struct tensor *t)
{
    char id[ID_TEXT];

    if (tensor_publish(t) != 0) /* it is in the database: the next start finds it */
        log_error("tensor=%s out of memory: not to be found before the next start",
                  id_format('t', &t->id, id));
}

void job_outputs_publish(struct job *j)
{
    struct tensor *t = NULL;

    for (uint32_t i = 0; (t = next_distinct(j, &i, t));)
        publish(t);
    for (uint32_t i = 0; j->kept && i < j->record->n; i++) {
        if (j->kept[i] && id_equal(&j->kept[i]->job, &j->record->id))
            publish(j->kept[i]);
    }
}

/* The same bytes under another name. What is on devices alone has no place to name: it is kept as
 * long as it is kept there. */
static struct tensor *keep(const struct job *j, struct tensor *from)
{
    struct tensor *t;

    if (tensor_away(from))
        return tensor_ref(from);
    t = tensor_new(from->dtype, &from->shape, from->extent, from->offset);
    if (t) {
        t->job = j->record->id;
        t->owner = j->record->owner;
        tensor_expire(t, expiry(j, t));
    }
    return t;
}

void job_kept_make(struct job *j)
{
    struct job_record *r = j->record;

    if (!record_keeps(r) || r->nothing)
        return;
    r->kept = calloc(r->n, sizeof *r->kept);
    j->kept = calloc(r->n, sizeof *j->kept);
    for (uint32_t i = 0; r->kept && j->kept && i < r->n; i++) {
        j->kept[i] = keep(j, j->inputs[record_needs(r) - r->n + i]);
        if (!j->kept[i])
            break;
        r->kept[i] = j->kept[i]->id;
    }
    if (r->kept && j->kept && j->kept[r->n - 1])
        return;
    job_kept_drop(j);
    free(r->kept);
    r->kept = NULL;
}

void job_results_drop(struct extent **results, uint32_t n)
{
    for (uint32_t i = 0; results && i < n; i++)
        extent_unref(results[i]);
    free(results);
}

static void drop(struct tensor ***tensors, uint32_t n)
{
    for (uint32_t i = 0; *tensors && i < n; i++)
        tensor_unref((*tensors)[i]);
    free(*tensors);
    *tensors = NULL;
}

void job_outputs_drop(struct job *j)
{
    drop(&j->outputs, j->record->n);
}

void job_inputs_drop(struct job *j)
{
    drop(&j->inputs, record_needs(j->record));
}

void job_kept_drop(struct job *j)
{
    drop(&j->kept, j->record->n);
}
