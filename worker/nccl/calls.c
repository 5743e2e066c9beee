/* calls.c - the NCCL calls of one chunk, one function a kind.
 *
 * What only moves goes as bytes, so that every type goes. NCCL before 2.28 has no gather, scatter
 * and all-to-all; there they are sends and receives in one group.
 */
#include "worker/nccl/nccl_parts.h"

#define ROOT 0

static const struct {
    ncclDataType_t type;
    bool reduces;
} types[DTYPE_COUNT] = {
    [DTYPE_float16] = {ncclFloat16, true}, [DTYPE_bfloat16] = {ncclBfloat16, true},
    [DTYPE_float32] = {ncclFloat32, true}, [DTYPE_float64] = {ncclFloat64, true},
    [DTYPE_int8] = {ncclInt8, true},       [DTYPE_uint8] = {ncclUint8, true},
    [DTYPE_int32] = {ncclInt32, true},     [DTYPE_uint32] = {ncclUint32, true},
    [DTYPE_int64] = {ncclInt64, true},     [DTYPE_uint64] = {ncclUint64, true},
    [DTYPE_bool] = {ncclUint8, true},
};

/* NCCL has no bitwise ones. */
static const struct {
    ncclRedOp_t op;
    bool there;
} redops[REDUCTION_COUNT] = {
    [REDUCE_SUM] = {ncclSum, true}, [REDUCE_MAX] = {ncclMax, true},
    [REDUCE_MIN] = {ncclMin, true}, [REDUCE_PROD] = {ncclProd, true},
    [REDUCE_AVG] = {ncclAvg, true},
};

bool nccl_reduces(enum reduction r, enum dtype d)
{
    return redops[r].there && types[d].reduces;
}

static uint64_t elements(const struct chunk *c)
{
    return c->bytes / dtypes[c->task->dtype].size_bytes;
}

static ncclDataType_t type_of(const struct chunk *c)
{
    return types[c->task->dtype].type;
}

static ncclRedOp_t redop_of(const struct chunk *c)
{
    return redops[c->task->op->reduce].op;
}

static ncclResult_t nccl_all_reduce(const struct chunk *c)
{
    return ncclAllReduce(c->in, c->out, elements(c), type_of(c), redop_of(c), c->comm->nccl,
                         c->comm->run);
}

static ncclResult_t nccl_reduce(const struct chunk *c)
{
    return ncclReduce(c->in, c->out, elements(c), type_of(c), redop_of(c), ROOT, c->comm->nccl,
                      c->comm->run);
}

static ncclResult_t nccl_reduce_scatter(const struct chunk *c)
{
    return ncclReduceScatter(c->in, c->out, elements(c), type_of(c), redop_of(c), c->comm->nccl,
                             c->comm->run);
}

static ncclResult_t nccl_broadcast(const struct chunk *c)
{
    return ncclBroadcast(c->in, c->out, c->bytes, ncclUint8, ROOT, c->comm->nccl, c->comm->run);
}

static ncclResult_t nccl_all_gather(const struct chunk *c)
{
    return ncclAllGather(c->in, c->out, c->bytes, ncclUint8, c->comm->nccl, c->comm->run);
}

/* The peers' ends meet by rank; a rank that is neither has no chunk. */
static ncclResult_t nccl_send_recv(const struct chunk *c)
{
    const struct op_params *p = &c->task->params;

    if (c->comm->rank == p->src)
        return ncclSend(c->in, c->bytes, ncclUint8, (int)p->dst, c->comm->nccl, c->comm->run);
    return ncclRecv(c->out, c->bytes, ncclUint8, (int)p->src, c->comm->nccl, c->comm->run);
}

/* Nothing is moved, so there is no chunk: what came before it on the stream has ended. */
static ncclResult_t nccl_barrier(const struct chunk *c)
{
    (void)c;
    return ncclSuccess;
}

#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 0) && !defined(TUTTI_NCCL_SEND_RECV)

static ncclResult_t nccl_gather(const struct chunk *c)
{
    return ncclGather(c->in, c->out, c->bytes, ncclUint8, ROOT, c->comm->nccl, c->comm->run);
}

static ncclResult_t nccl_scatter(const struct chunk *c)
{
    return ncclScatter(c->in, c->out, c->bytes, ncclUint8, ROOT, c->comm->nccl, c->comm->run);
}

static ncclResult_t nccl_all_to_all(const struct chunk *c)
{
    return ncclAlltoAll(c->in, c->out, c->bytes, ncclUint8, c->comm->nccl, c->comm->run);
}

#else

/* Block r of the input to rank r where `sends` says so, block r of the output from rank r. in_step
 * 0: the one block to whoever gets it. The group is closed whatever happens in it. */
static ncclResult_t exchange(const struct chunk *c, bool (*sends)(uint32_t from, uint32_t to),
                             uint64_t in_step, uint64_t out_step)
{
    uint32_t me = c->comm->rank;
    ncclResult_t rc = ncclGroupStart(), end;

    if (rc != ncclSuccess)
        return rc;
    for (uint32_t r = 0; r < c->comm->n && rc == ncclSuccess; r++) {
        if (sends(me, r))
            rc = ncclSend(c->in + r * in_step, c->bytes, ncclUint8, (int)r, c->comm->nccl,
                          c->comm->run);
        if (rc == ncclSuccess && sends(r, me))
            rc = ncclRecv(c->out + r * out_step, c->bytes, ncclUint8, (int)r, c->comm->nccl,
                          c->comm->run);
    }
    end = ncclGroupEnd();
    return rc != ncclSuccess ? rc : end;
}

static bool to_root(uint32_t from, uint32_t to)
{
    (void)from;
    return to == ROOT;
}

static bool from_root(uint32_t from, uint32_t to)
{
    (void)to;
    return from == ROOT;
}

static bool to_all(uint32_t from, uint32_t to)
{
    (void)from;
    (void)to;
    return true;
}

static ncclResult_t nccl_gather(const struct chunk *c)
{
    return exchange(c, to_root, 0, c->bytes);
}

static ncclResult_t nccl_scatter(const struct chunk *c)
{
    return exchange(c, from_root, c->bytes, 0);
}

static ncclResult_t nccl_all_to_all(const struct chunk *c)
{
    return exchange(c, to_all, c->bytes, c->bytes);
}

#endif

static ncclResult_t (*const calls[KIND_COUNT])(const struct chunk *) = {
#define X(KIND, kind) [KIND_##KIND] = nccl_##kind,
    KINDS(X)
#undef X
};

ncclResult_t nccl_launch(const struct chunk *c)
{
    return calls[c->task->op->kind](c);
}
