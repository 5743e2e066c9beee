/* backward.c - the adjoint job, its mask, and what stands for missing gradients. */
#include "server/backward.h"

#include <stdio.h>
#include <string.h>

static int check(const struct job_record *j, struct err *e)
{
    if (!job_state_terminal(j->state))
        return err_set(e, ERR_job_running, "the job is %s: its gradient comes after its end",
                       job_state_name(j->state));
    if (j->state != JOB_succeeded)
        return err_set(e, ERR_no_output, "the job has %s, and has no gradient",
                       job_state_name(j->state));
    if (j->op->adjoint == OP_none)
        return err_set(e, ERR_no_gradient, "%s has no gradient", j->op->name);
    if (dtypes[j->dtype].kind == CLASS_BOOL)
        return err_set(e, ERR_dtype_op, "bool has no gradient: %s of numbers has one", j->op->name);
    return 0;
}

/* A mask after the linear part becomes one before it, and back: each is the other's transpose. */
static void set_mask(struct job_record *b, const struct job_record *j)
{
    if (b->nothing)
        return;
    if (j->mask == MASK_NONE && op_keeps_inputs(j->op)) {
        b->mask = MASK_AFTER;
        b->mask_reduce = j->op->reduce;
    } else if (j->mask != MASK_NONE) {
        b->mask = j->mask == MASK_AFTER ? MASK_BEFORE : MASK_AFTER;
        b->mask_reduce = j->mask_reduce;
    }
}

struct job_record *backward_record(const struct job_record *j, struct err *e)
{
    struct job_record *b;

    if (check(j, e) != 0)
        return NULL;
    b = record_new(j->n);
    if (!b) {
        err_set(e, ERR_no_memory, "a job");
        return NULL;
    }
    b->op = &ops[j->op->adjoint];
    b->params = op_adjoint_params(&j->params);
    memcpy(b->ranks, j->ranks, j->n * sizeof *j->ranks);
    snprintf(b->group, sizeof b->group, "%s", j->group);
    b->dtype = j->dtype;
    b->in_shape = j->out_shape;
    b->out_shape = j->in_shape;
    b->shaped = true;
    b->parent = j->id;
    b->nothing = j->nothing;
    set_mask(b, j);
    return b;
}

int backward_masks(const struct job_record *b, const struct job_record *j, struct tensor **inputs,
                   struct err *e)
{
    for (uint32_t i = 0; b->mask != MASK_NONE && i < b->n; i++) {
        struct tensor *t = j->kept ? tensor_find(&j->kept[i]) : NULL;

        if (!t || tensor_lost(t)) {
            tensor_unref(t);
            err_set(e, ERR_tensor_lost,
                    "the input of rank %u, which the gradient of %s depends on, is gone: tensors "
                    "live as long as --retain says",
                    i, j->op->name);
            return err_rank(e, i);
        }
        inputs[b->n + i] = t;
    }
    return 0;
}

struct tensor *backward_zeros(const struct job_record *b, struct err *e)
{
    uint64_t bytes = shape_count(&b->in_shape) * dtypes[b->dtype].size_bytes;
    struct extent *x = NULL;
    struct tensor *t;

    if (extent_alloc_for(b->owner, bytes, &x, e) != 0)
        return NULL;
    t = tensor_new(b->dtype, &b->in_shape, x, 0);
    extent_unref(x); /* the tensor has its own reference */
    if (!t)
        err_set(e, ERR_no_memory, "a tensor of zeros");
    else if (bytes > 0)
        memset(tensor_data(t), 0, bytes);
    return t;
}

void backward_nothing(struct job_record *b, struct tensor **inputs)
{
    for (uint32_t i = 0; i < record_needs(b); i++) {
        tensor_unref(inputs[i]);
        inputs[i] = NULL;
    }
    b->nothing = true;
    b->mask = MASK_NONE;
}

int backward_complete(struct job_record *b, struct tensor **inputs, struct err *e)
{
    struct tensor *zeros = NULL;
    bool came = false;

    for (uint32_t i = 0; i < b->n; i++)
        came |= inputs[i] != NULL;
    if (!came) {
        backward_nothing(b, inputs);
        return 0;
    }
    for (uint32_t i = 0; i < b->n; i++) {
        if (inputs[i] || !record_gives(b, i))
            continue;
        inputs[i] = zeros ? tensor_ref(zeros) : (zeros = backward_zeros(b, e));
        if (!inputs[i])
            return -1;
    }
    return 0;
}
