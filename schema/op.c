/* op.c - everything about a collective that follows from its row. */
#include "schema/op.h"
#include "schema/layout.h"

#include <inttypes.h>
#include <string.h>

const struct op ops[OP_COUNT] = {
#define OP(name_, kind_, reduce_, in_, out_, dim_, bus_, adjoint_, sentence_) \
    [OP_##name_] = {.name = #name_,                                           \
                    .kind = KIND_##kind_,                                     \
                    .reduce = REDUCE_##reduce_,                               \
                    .in = PARTY_##in_,                                        \
                    .out = PARTY_##out_,                                      \
                    .dim = DIM_##dim_,                                        \
                    .bus = bus_,                                              \
                    .adjoint = OP_##adjoint_,                                 \
                    .sentence = sentence_},
#include "schema/ops.def"
#undef OP
};

const struct op *op_find(const char *name, size_t len)
{
    for (const struct op *op = ops; op < ops + OP_COUNT; op++)
        if (strlen(op->name) == len && memcmp(op->name, name, len) == 0)
            return op;
    return NULL;
}

const char *op_names(void)
{
    static const char names[] =
#define OP(name, kind, reduce, in, out, dim, bus, adjoint, sentence) " " #name
#include "schema/ops.def"
#undef OP
        ;

    return names + 1;
}

bool op_takes_axis(const struct op *op)
{
    return op->dim == DIM_GROW || op->dim == DIM_SHRINK;
}

bool op_takes_two_axes(const struct op *op)
{
    return op->dim == DIM_SHUFFLE;
}

bool op_takes_peers(const struct op *op)
{
    return op->in == PARTY_SRC;
}

const char *const *op_parameter_names(const struct op *op)
{
    static const char *const none[] = {NULL}, *const axis[] = {"axis", NULL},
                             *const axes[] = {"split_axis", "concat_axis", NULL},
                             *const peers[] = {"src", "dst", NULL};

    if (op_takes_axis(op))
        return axis;
    if (op_takes_two_axes(op))
        return axes;
    return op_takes_peers(op) ? peers : none;
}

static bool is_party(enum party party, const struct op_params *p, uint32_t r)
{
    switch (party) {
    case PARTY_EACH:
        return true;
    case PARTY_ROOT:
        return r == 0;
    case PARTY_SRC:
        return r == p->src;
    case PARTY_DST:
        return r == p->dst;
    case PARTY_NOBODY:
        return false;
    }
    return false;
}

bool op_gives(const struct op *op, const struct op_params *p, uint32_t r)
{
    return is_party(op->in, p, r);
}

bool op_gets(const struct op *op, const struct op_params *p, uint32_t r)
{
    return is_party(op->out, p, r);
}

bool op_keeps_inputs(const struct op *op)
{
    return op->reduce == REDUCE_MAX || op->reduce == REDUCE_MIN;
}

bool op_shares_output(const struct op *op)
{
    return op->out == PARTY_EACH && (op->dim == DIM_SAME || op->dim == DIM_GROW);
}

uint32_t op_axis(int64_t axis, uint32_t ndim)
{
    return (uint32_t)(axis < 0 ? axis + (int64_t)ndim : axis);
}

static bool splits(const struct op *op)
{
    return op->dim == DIM_SHRINK || op->dim == DIM_SHUFFLE;
}

static bool joins(const struct op *op)
{
    return op->dim == DIM_GROW || op->dim == DIM_SHUFFLE;
}

bool op_is_view(const struct op *op, const struct op_params *p, uint32_t n, const struct shape *in)
{
    if (n == 1)
        return true; /* one part, one input: every collective is the identity */
    if (op->in == PARTY_EACH || op->in == PARTY_NOBODY)
        return false;
    if (!splits(op))
        return true;
    return layout_of(in, op_axis(p->split_axis, in->ndim)).outer <= 1;
}

uint64_t op_view_offset(const struct op *op, const struct op_params *p, uint32_t n, uint32_t r,
                        const struct shape *in)
{
    struct layout l;

    if (!splits(op) || n == 1)
        return 0;
    l = layout_of(in, op_axis(p->split_axis, in->ndim));
    return l.outer ? r * (l.axis / n) * l.inner : 0;
}

const char *const reduction_plural[REDUCTION_COUNT] = {
#define X(REDUCTION, plural) [REDUCE_##REDUCTION] = plural,
    REDUCTIONS(X)
#undef X
};

/* Why this reduction does not take this dtype; NULL: it does. */
static const char *unfit(enum reduction r, enum dtype d)
{
    enum dtype_class kind = dtypes[d].kind;

    switch (r) {
    case REDUCE_SUM:
        return kind != CLASS_BOOL
                   ? NULL
                   : "cannot add bool; use all_reduce_max for or, all_reduce_min for "
                     "and, or an integer dtype to count";
    case REDUCE_PROD:
        return kind != CLASS_BOOL ? NULL : "cannot multiply bool; use all_reduce_and";
    case REDUCE_AVG:
        return kind == CLASS_FLOAT ? NULL
                                   : "gives means, which are no integers; use a float dtype, or "
                                     "all_reduce_sum and divide";
    case REDUCE_AND:
    case REDUCE_OR:
    case REDUCE_XOR:
        return kind != CLASS_FLOAT ? NULL : "works on bits; use an integer dtype or bool";
    default:
        return NULL;
    }
}

int op_check_dtype(const struct op *op, enum dtype d, struct err *e)
{
    const char *why = unfit(op->reduce, d);

    if (!why)
        return 0;
    err_set(e, ERR_dtype_op, "%s %s", op->name, why);
    return err_pointer(e, "/dtype");
}

int op_check_peers(const struct op *op, const struct op_params *p, uint32_t n, struct err *e)
{
    if (!op_takes_peers(op))
        return 0;
    if (n < 2)
        return err_set(e, ERR_rank_invalid, "%s needs a group of at least two ranks", op->name);
    if (p->src >= n || p->dst >= n) {
        const char *which = p->src >= n ? "src" : "dst";

        err_set(e, ERR_rank_invalid, "%s is %" PRIu32 ", but the group has ranks 0 to %" PRIu32,
                which, p->src >= n ? p->src : p->dst, n - 1);
        return err_pointer(e, "/%s", which);
    }
    if (p->src == p->dst) {
        err_set(e, ERR_rank_invalid, "src and dst are both %" PRIu32 "; name two ranks", p->src);
        return err_pointer(e, "/dst");
    }
    return 0;
}

static int check_axis(const struct op *op, int64_t axis, const char *name, uint32_t ndim,
                      struct err *e)
{
    if (ndim == 0)
        err_set(e, ERR_axis_out_of_range, "%s takes no scalars: inputs need at least one axis",
                op->name);
    else if (axis < -(int64_t)ndim || axis >= (int64_t)ndim)
        err_set(e, ERR_axis_out_of_range,
                "%s is %" PRId64 ", but inputs have %" PRIu32 " axes: it must be in [-%" PRIu32
                ", %" PRIu32 ")",
                name, axis, ndim, ndim, ndim);
    else
        return 0;
    return err_pointer(e, "/%s", name);
}

static int split(const struct op *op, const struct op_params *p, uint32_t n, struct shape *s,
                 struct err *e)
{
    const char *name = op_takes_two_axes(op) ? "split_axis" : "axis";
    uint64_t *dim;

    if (check_axis(op, p->split_axis, name, s->ndim, e) != 0)
        return -1;
    dim = &s->dim[op_axis(p->split_axis, s->ndim)];
    if (*dim % n != 0) {
        err_set(e, ERR_not_divisible,
                "axis %" PRId64 " has length %" PRIu64 ", which does not divide by the %" PRIu32
                " ranks of the group",
                p->split_axis, *dim, n);
        return err_pointer(e, "/%s", name);
    }
    *dim /= n;
    return 0;
}

static int join(const struct op *op, const struct op_params *p, uint32_t n, struct shape *s,
                struct err *e)
{
    const char *name = op_takes_two_axes(op) ? "concat_axis" : "axis";
    uint64_t *dim;

    if (check_axis(op, p->concat_axis, name, s->ndim, e) != 0)
        return -1;
    dim = &s->dim[op_axis(p->concat_axis, s->ndim)];
    if (__builtin_mul_overflow(*dim, (uint64_t)n, dim))
        return err_set(e, ERR_shape_too_large, "the joined axis is longer than 2^64-1");
    return 0;
}

int op_out_shape(const struct op *op, const struct op_params *p, uint32_t n, const struct shape *in,
                 struct shape *out, struct err *e)
{
    struct shape s = *in;

    if (splits(op) && split(op, p, n, &s, e) != 0)
        return -1;
    if (joins(op) && join(op, p, n, &s, e) != 0)
        return -1;
    if (shape_measure(&s, DTYPE_float64, NULL, NULL, e) != 0) /* the widest dtype */
        return -1;
    *out = s;
    return 0;
}

struct op_params op_adjoint_params(const struct op_params *p)
{
    return (struct op_params){
        .split_axis = p->concat_axis, .concat_axis = p->split_axis, .src = p->dst, .dst = p->src};
}

double op_bus_factor(const struct op *op, uint32_t n)
{
    return op->bus ? op->bus * (double)(n - 1) / n : 1.0;
}

uint64_t op_algo_bytes(uint64_t in_bytes, uint64_t out_bytes)
{
    return in_bytes > out_bytes ? in_bytes : out_bytes;
}
