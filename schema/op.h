/* op.h - what each collective does to shapes and ranks, read from ops.def.
 *
 * Pure functions: no I/O, no allocation, no state; safe from any thread.
 */
#ifndef TUTTI_SCHEMA_OP_H
#define TUTTI_SCHEMA_OP_H

#include "schema/dtype.h"
#include "schema/error.h"
#include "schema/reduction.h"
#include "schema/shape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op_id {
#define OP(name, kind, reduce, in, out, dim, bus, adjoint, sentence) OP_##name,
#include "schema/ops.def"
#undef OP
    OP_COUNT,
    OP_none = OP_COUNT /* an adjoint that there is not */
};

/* X(KIND, kind): one per backend function. */
#define KINDS(X)                      \
    X(REDUCE, reduce)                 \
    X(BROADCAST, broadcast)           \
    X(ALL_GATHER, all_gather)         \
    X(REDUCE_SCATTER, reduce_scatter) \
    X(ALL_REDUCE, all_reduce)         \
    X(GATHER, gather)                 \
    X(SCATTER, scatter)               \
    X(ALL_TO_ALL, all_to_all)         \
    X(SEND_RECV, send_recv)           \
    X(BARRIER, barrier)

enum kind {
#define X(KIND, kind) KIND_##KIND,
    KINDS(X)
#undef X
        KIND_COUNT
};

enum party { PARTY_EACH, PARTY_ROOT, PARTY_SRC, PARTY_DST, PARTY_NOBODY };
enum dim_rule { DIM_SAME, DIM_GROW, DIM_SHRINK, DIM_SHUFFLE };

struct op {
    const char *name;
    enum kind kind;
    enum reduction reduce;
    enum party in, out;
    enum dim_rule dim;
    uint32_t bus;
    enum op_id adjoint;
    const char *sentence;
};

extern const struct op ops[OP_COUNT];

/* The gradient of a maximum is that of the operation's linear part where a rank's input equals the
 * result, and 0 elsewhere. A mask keeps the equal elements: of the outputs, AFTER the linear part;
 * of the inputs, BEFORE it, in the gradient of that gradient. */
enum mask_when { MASK_NONE, MASK_AFTER, MASK_BEFORE };

/* Parameters of a collective. The API's `axis` is split_axis where the op shrinks and concat_axis
 * where it grows; both hold the same value there, so either may be read. */
struct op_params {
    int64_t split_axis, concat_axis; /* negative counts from the end, as in NumPy */
    uint32_t src, dst;               /* group ranks */
};

/* The row called name[0..len), or NULL. */
const struct op *op_find(const char *name, size_t len);

/* "reduce_sum broadcast ...": every name, for an error's detail. Static storage. */
const char *op_names(void);

/* Which parameters the op takes. */
bool op_takes_axis(const struct op *op);     /* `axis`: GROW, SHRINK */
bool op_takes_two_axes(const struct op *op); /* `split_axis`, `concat_axis`: SHUFFLE */
bool op_takes_peers(const struct op *op);    /* `src`, `dst` */

/* Their names, and NULL behind the last. Static storage. */
const char *const *op_parameter_names(const struct op *op);

/* Does group rank r give an input, get an output? */
bool op_gives(const struct op *op, const struct op_params *p, uint32_t r);
bool op_gets(const struct op *op, const struct op_params *p, uint32_t r);

/* Does the gradient depend on the inputs? A maximum's goes to the ranks that had it. */
bool op_keeps_inputs(const struct op *op);

/* Every rank gets the same bytes: one output extent serves all. */
bool op_shares_output(const struct op *op);

/* No byte needs to move on shared memory: every output is a piece of the one input. in is what
 * the giving rank submits; also true for the trivial case of n = 1 with no reduction and for
 * tensors whose dims before the split axis are all 1. False when any element must be copied. */
bool op_is_view(const struct op *op, const struct op_params *p, uint32_t n, const struct shape *in);

/* Where in that input group rank r's view begins, in elements. Only when op_is_view. */
uint64_t op_view_offset(const struct op *op, const struct op_params *p, uint32_t n, uint32_t r,
                        const struct shape *in);

/* May this dtype be used? Sums and products take all but bool, means floats, bitwise operations
 * integers and bool; max, min and moves take all.
 * Returns 0, or -1 with ERR_dtype_op. */
int op_check_dtype(const struct op *op, enum dtype d, struct err *e);

/* Are src and dst ranks of a group of n, and distinct? (Ignored where op has no peers.)
 * A group of one cannot send: src and dst would be equal.
 * Returns 0, or -1 with ERR_rank_invalid and a pointer. */
int op_check_peers(const struct op *op, const struct op_params *p, uint32_t n, struct err *e);

/* Shape that each receiving rank gets, in elements.
 *
 *   p    axes may be negative, as in NumPy; ignored where op has no axis
 *   n    ranks in the group, 1..LIMIT_RANKS
 *   in   what each giving rank submits
 *   out  set only on success: the split axis / n, the joined axis * n
 *
 * Returns 0, or -1 with ERR_axis_out_of_range, ERR_not_divisible or ERR_shape_too_large and a
 * pointer to the parameter.
 * Source: megengine.functional.distributed.
 */
int op_out_shape(const struct op *op, const struct op_params *p, uint32_t n, const struct shape *in,
                 struct shape *out, struct err *e);

/* axis in [-ndim, ndim) as an index in [0, ndim). Only after op_out_shape accepted it. */
uint32_t op_axis(int64_t axis, uint32_t ndim);

/* Parameters of the adjoint: split and concat swap, src and dst swap. */
struct op_params op_adjoint_params(const struct op_params *p);

/* Bus bandwidth / algorithm bandwidth for n ranks, as nccl-tests' PERFORMANCE.md defines it. */
double op_bus_factor(const struct op *op, uint32_t n);

/* Bytes that algbw counts: the larger of one rank's input and output, nccl-tests' `size`. */
uint64_t op_algo_bytes(uint64_t in_bytes, uint64_t out_bytes);

#endif
