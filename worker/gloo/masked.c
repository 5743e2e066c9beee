/* masked.c - a masked task in two collectives and an elementwise choice.
 *
 * Every rank works for itself, in memory of its own: the first collective gives it the largest
 * (smallest) of all masks, which lies between the linear collective and the arena. Ranks of one
 * host would have to meet in between to share it.
 */
#include "worker/gloo/masked.h"
#include "worker/arena_map.h"
#include "worker/mask.h"

#include <stdlib.h>
#include <string.h>

/* What this rank sees of a collective that it takes part in by itself. */
struct view {
    struct task task;
    const uint8_t **inputs;
    uint8_t **outputs;
};

static int view_of(struct view *v, const struct task *t, struct err *e)
{
    *v = (struct view){.task = *t};
    v->inputs = calloc(t->n, sizeof *v->inputs);
    v->outputs = calloc(t->n, sizeof *v->outputs);
    if (!v->inputs || !v->outputs)
        return err_set(e, ERR_no_memory, "a masked task of %u ranks", t->n);
    v->task.mask = MASK_NONE;
    v->task.inputs = v->inputs;
    v->task.outputs = v->outputs;
    return 0;
}

static void drop_view(struct view *v)
{
    free(v->inputs);
    free(v->outputs);
}

static const struct op *all_reduce_of(enum reduction r)
{
    const struct op *op = ops;

    while (op->kind != KIND_ALL_REDUCE || op->reduce != r)
        op++;
    return op;
}

/* The largest of all ranks' masks. */
static int find_best(struct flow *f, const struct map *apart, const struct task *t, uint8_t *best,
                     struct err *e)
{
    struct task *one;
    struct view v;
    int rc = view_of(&v, t, e);

    if (rc == 0) {
        one = &v.task;
        one->op = all_reduce_of(t->mask_reduce);
        if (t->mask == MASK_AFTER) {
            one->in = t->out;
            one->in_bytes = t->out_bytes;
        } else {
            one->out = t->in;
            one->out_bytes = t->in_bytes;
        }
        v.inputs[t->rank] = t->masks[t->rank];
        v.outputs[t->rank] = best;
        rc = flow_run(f, apart, &one, 1, e);
    }
    drop_view(&v);
    return rc;
}

/* The collective itself, from that input to that output (NULL: none). */
static int linear(struct flow *f, const struct map *apart, const struct task *t,
                  const uint8_t *input, uint8_t *output, struct err *e)
{
    struct task *one;
    struct view v;
    int rc = view_of(&v, t, e);

    if (rc == 0) {
        one = &v.task;
        memcpy(v.outputs, t->outputs, t->n * sizeof *v.outputs); /* who shares one is seen by it */
        v.inputs[t->rank] = input;
        v.outputs[t->rank] = output;
        rc = flow_run(f, apart, &one, 1, e);
    }
    drop_view(&v);
    return rc;
}

static void choose(const struct task *t, uint8_t *out, const uint8_t *best, const uint8_t *value,
                   uint64_t bytes)
{
    mask_select(t->dtype, out, t->masks[t->rank], best, value, bytes / dtypes[t->dtype].size_bytes);
}

/* best and value: room for a mask's tensor each. */
static int run(struct flow *f, const struct map *apart, const struct task *t, uint8_t *best,
               uint8_t *value, uint64_t bytes, struct err *e)
{
    const uint8_t *input = t->inputs[t->rank];
    uint8_t *output = t->outputs[t->rank];

    arena_map_touch(t->masks[t->rank], bytes);
    if (find_best(f, apart, t, best, e) != 0)
        return -1;
    if (t->mask == MASK_BEFORE) {
        arena_map_touch(input, bytes);
        choose(t, value, best, input, bytes);
        return linear(f, apart, t, value, output, e);
    }
    if (linear(f, apart, t, input, output ? value : NULL, e) != 0)
        return -1;
    if (output && !atomic_load(f->stop)) {
        arena_map_touch(output, bytes);
        choose(t, output, best, value, bytes);
    }
    return 0;
}

int masked_run(struct flow *f, const struct map *apart, const struct task *t, struct err *e)
{
    uint64_t bytes = t->mask == MASK_AFTER ? t->out_bytes : t->in_bytes;
    uint8_t *best = malloc(bytes ? bytes : 1), *value = malloc(bytes ? bytes : 1);
    int rc;

    if (best && value)
        rc = run(f, apart, t, best, value, bytes, e);
    else
        rc = err_set(e, ERR_no_memory, "%llu bytes for a masked task",
                     (unsigned long long)(2 * bytes));
    if (rc != 0)
        wire_stop(f->wire); /* nothing comes into that memory, and nobody waits for this rank */
    free(best);
    free(value);
    return rc;
}
