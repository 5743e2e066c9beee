/* task.c - one RUN frame to checked pointers and shapes. */
#include "worker/task.h"
#include "worker/arena_map.h"

#include <stdlib.h>

/* Of gradients, and so of linear operations, whose gradients have a mask in turn. */
static int check_mask(const struct frame_run *run, uint32_t n, struct task *t, struct err *e)
{
    bool fits = t->op->reduce == REDUCE_NONE || t->op->reduce == REDUCE_SUM;

    t->mask = (enum mask_when)run->mask;
    t->mask_reduce = (enum reduction)run->mask_reduce;
    if (run->mask == MASK_NONE)
        return 0;
    if (run->mask == MASK_AFTER)
        fits &= t->op->dim == DIM_SAME || t->op->dim == DIM_GROW;
    else
        fits &= run->mask == MASK_BEFORE && t->op->reduce == REDUCE_SUM &&
                (t->op->dim == DIM_SAME || t->op->dim == DIM_SHRINK);
    if (fits && run->n_masks == n && run->n_held == 0 && run->n_keep == 0 &&
        (t->mask_reduce == REDUCE_MAX || t->mask_reduce == REDUCE_MIN))
        return 0;
    return err_set(e, ERR_worker_failed, "a mask that %s has not", t->op->name);
}

static int check_parameters(const struct frame_run *run, uint32_t n, struct task *t, struct err *e)
{
    if (run->op >= OP_COUNT || run->dtype >= DTYPE_COUNT)
        return err_set(e, ERR_worker_failed, "unknown operation or dtype in RUN");
    if (run->n_inputs != n || run->n_outputs != n)
        return err_set(e, ERR_worker_failed, "RUN has %u inputs and %u outputs for %u ranks",
                       run->n_inputs, run->n_outputs, n);
    t->op = &ops[run->op];
    t->dtype = (enum dtype)run->dtype;
    t->params = (struct op_params){.split_axis = run->split_axis,
                                   .concat_axis = run->concat_axis,
                                   .src = run->src,
                                   .dst = run->dst};
    t->in = run->in_shape;
    if (shape_measure(&t->in, t->dtype, NULL, &t->in_bytes, e) != 0 ||
        op_check_dtype(t->op, t->dtype, e) != 0 || op_check_peers(t->op, &t->params, n, e) != 0 ||
        op_out_shape(t->op, &t->params, n, &t->in, &t->out, e) != 0 ||
        shape_measure(&t->out, t->dtype, NULL, &t->out_bytes, e) != 0)
        return -1;
    return check_mask(run, n, t, e);
}

static uint64_t resident(const uint64_t *list, uint32_t n_list, uint32_t r)
{
    return r < n_list ? list[r] : 0;
}

static int find_bytes(const struct frame_run *run, uint32_t n, const uint32_t *hosts,
                      struct task *t, struct err *e)
{
    for (uint32_t r = 0; r < n; r++) {
        if (hosts[r] != hosts[t->rank])
            continue; /* its bytes are in another arena */
        if (op_gives(t->op, &t->params, r) && !resident(run->held, run->n_held, r)) {
            t->inputs[r] = arena_map_at(run->inputs[r], t->in_bytes);
            if (!t->inputs[r])
                return err_set(e, ERR_worker_failed, "input %u lies outside the arena", r);
        }
        if (op_gets(t->op, &t->params, r) && !resident(run->keep, run->n_keep, r)) {
            t->outputs[r] = arena_map_at(run->outputs[r], t->out_bytes);
            if (!t->outputs[r])
                return err_set(e, ERR_worker_failed, "output %u lies outside the arena", r);
        }
    }
    for (uint32_t r = 0; r < run->n_masks && r < n; r++) {
        if (hosts[r] != hosts[t->rank])
            continue;
        t->masks[r] = arena_map_at(run->masks[r],
                                   t->mask == MASK_AFTER ? t->out_bytes : t->in_bytes);
        if (!t->masks[r])
            return err_set(e, ERR_worker_failed, "mask %u lies outside the arena", r);
    }
    t->resident = run->n_keep > 0;
    t->all_held = true;
    for (uint32_t r = 0; r < n; r++)
        t->all_held &= !op_gives(t->op, &t->params, r) || resident(run->held, run->n_held, r);
    if (op_gives(t->op, &t->params, t->rank))
        t->held = resident(run->held, run->n_held, t->rank);
    if (op_gets(t->op, &t->params, t->rank))
        t->keep = resident(run->keep, run->n_keep, t->rank);
    return 0;
}

struct task *task_new(const struct frame_run *run, uint32_t n, uint32_t rank, const uint32_t *hosts,
                      struct err *e)
{
    struct task *t = calloc(1, sizeof *t +
                                   n * (sizeof *t->inputs + sizeof *t->outputs + sizeof *t->masks));
    void *behind;

    if (!t) {
        err_set(e, ERR_no_memory, "a task of %u ranks", n);
        return NULL;
    }
    t->job = run->job;
    t->attempt = run->attempt;
    t->n = n;
    t->rank = rank;
    behind = t + 1;
    t->outputs = behind;
    behind = t->outputs + n;
    t->inputs = behind;
    behind = t->inputs + n;
    t->masks = behind;
    if (check_parameters(run, n, t, e) == 0 && find_bytes(run, n, hosts, t, e) == 0)
        return t;
    free(t);
    return NULL;
}
