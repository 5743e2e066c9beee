/* stage.c - one task through the device, chunk by chunk: copy in, collective, copy out.
 *
 * Three streams, ordered by events, so that copies and collectives of different chunks run side by
 * side. A slot is used again only when we saw that its last chunk's copy out, which comes after
 * all else of that chunk, has ended; so at most SLOTS chunks are pushed, and an abort has little to
 * wait for.
 */
#include "worker/nccl/nccl_parts.h"

#define PITCH_MAX 0x7fffffffull /* of a two-dimensional copy */
#define SHARE_MIN (64u << 10)   /* a shared result below that is copied out by one rank */

static uint64_t chunk_lo(const struct comm *c, uint64_t chunk)
{
    return chunk * c->plan.chunk_bytes;
}

static uint64_t chunk_hi(const struct comm *c, uint64_t chunk)
{
    uint64_t hi = chunk_lo(c, chunk + 1);

    return hi < c->plan.bytes ? hi : c->plan.bytes;
}

/* ---- copies ---- */

struct transfer {
    uint8_t *device, *host; /* host: of the whole tensor */
    const struct rows *rows;
    uint64_t offset; /* of the block within a row of blocks */
    enum rtMemcpyKind kind;
    rtStream_t stream;
};

static rtError_t copy_run(const struct transfer *t, uint64_t done, uint64_t at, uint64_t width,
                          uint64_t height)
{
    const struct rows *r = t->rows;
    uint8_t *host = t->host + t->offset + at / r->len * r->stride + at % r->len;
    uint8_t *device = t->device + done;
    bool in = t->kind == rtHostToDevice;

    if (height == 1)
        return rtMemcpyAsync(in ? device : host, in ? host : device, width, t->kind, t->stream);
    return in ? rtMemcpy2DAsync(device, width, host, r->stride, width, height, t->kind, t->stream)
              : rtMemcpy2DAsync(host, r->stride, device, width, width, height, t->kind, t->stream);
}

/* Bytes [lo, hi) of a block: the rest of a row, whole rows, the start of one. */
static rtError_t copy_block(const struct transfer *t, uint64_t lo, uint64_t hi)
{
    const struct rows *r = t->rows;
    rtError_t rc = rtSuccess;

    for (uint64_t at = lo; at < hi && rc == rtSuccess;) {
        uint64_t width = r->len - at % r->len, height = 1;

        if (r->len == r->stride) {
            width = hi - at; /* rows without a gap are one */
        } else if (at % r->len == 0 && hi - at >= r->len && r->stride <= PITCH_MAX) {
            height = (hi - at) / r->len;
        }
        width = width < hi - at ? width : hi - at;
        rc = copy_run(t, at - lo, at, width, height);
        at += width * height;
    }
    return rc;
}

static rtError_t copy_in(struct comm *c, struct slot *s, uint64_t lo, uint64_t hi)
{
    struct plan *p = &c->plan;
    rtError_t rc = rtSuccess;

    for (uint32_t b = 0; b < p->in_blocks && rc == rtSuccess; b++) {
        struct transfer t = {.device = s->in + b * (hi - lo),
                             .host = c->device->at.arena + (p->src - c->device->at.arena),
                             .rows = &p->from,
                             .offset = b * p->from_step,
                             .kind = rtHostToDevice,
                             .stream = c->device->in};

        rc = copy_block(&t, lo, hi);
    }
    return rc;
}

/* Which blocks, and which bytes of them, of a shared output are ours to copy out. */
static bool is_mine(const struct comm *c, uint32_t block, uint64_t *lo, uint64_t *hi)
{
    uint64_t bytes = *hi - *lo, from = *lo;

    if (!c->plan.shared || c->n == 1)
        return true;
    if (c->plan.out_blocks > 1)
        return block == c->rank;
    if (bytes < SHARE_MIN)
        return c->rank == 0;
    *lo = from + bytes * c->rank / c->n;
    *hi = from + bytes * (c->rank + 1) / c->n;
    return true;
}

static rtError_t copy_out(struct comm *c, struct slot *s, uint64_t lo, uint64_t hi)
{
    struct plan *p = &c->plan;
    rtError_t rc = rtSuccess;

    for (uint32_t b = 0; b < p->out_blocks && rc == rtSuccess; b++) {
        uint64_t mine_lo = lo, mine_hi = hi;
        struct transfer t = {.host = p->dst,
                             .rows = &p->to,
                             .offset = b * p->to_step,
                             .kind = rtDeviceToHost,
                             .stream = c->device->out};

        if (!is_mine(c, b, &mine_lo, &mine_hi))
            continue;
        t.device = s->out + b * (hi - lo) + (mine_lo - lo);
        rc = copy_block(&t, mine_lo, mine_hi);
    }
    return rc;
}

/* ---- a chunk ---- */

static rtError_t wait_for(rtStream_t stream, rtEvent_t event)
{
    return rtStreamWaitEvent(stream, event, 0);
}

/* In, and the collective. Returns 0, or -1 with e. */
static int begin_chunk(struct comm *c, struct err *e)
{
    struct device *d = c->device;
    struct slot *s = &d->slot[c->begun % SLOTS];
    uint64_t lo = chunk_lo(c, c->begun), hi = chunk_hi(c, c->begun);
    struct chunk chunk = {.comm = c, .in = s->in, .out = s->out, .bytes = hi - lo};
    ncclResult_t launched;
    rtError_t rc = copy_in(c, s, lo, hi);

    if (rc == rtSuccess)
        rc = rtEventRecord(s->in_done, d->in);
    if (rc == rtSuccess)
        rc = wait_for(d->run, s->in_done);
    if (rc != rtSuccess)
        return nccl_cuda_failed(e, "copy in", rc);
    launched = nccl_launch(&chunk);
    if (launched != ncclSuccess && launched != ncclInProgress)
        return nccl_failed(c, e, c->task.op->name, launched);
    c->stage = launched == ncclInProgress ? STAGE_LAUNCHING : STAGE_MOVING;
    return 0;
}

/* The collective is on its stream: out, behind it. Returns 0, or -1 with e. */
static int finish_chunk(struct comm *c, struct err *e)
{
    struct device *d = c->device;
    struct slot *s = &d->slot[c->begun % SLOTS];
    rtError_t rc = rtEventRecord(s->run_done, d->run);

    if (rc == rtSuccess)
        rc = wait_for(d->out, s->run_done);
    if (rc == rtSuccess)
        rc = copy_out(c, s, chunk_lo(c, c->begun), chunk_hi(c, c->begun));
    if (rc == rtSuccess)
        rc = rtEventRecord(s->out_done, d->out);
    if (rc != rtSuccess)
        return nccl_cuda_failed(e, "copy out", rc);
    c->begun++;
    return 0;
}

/* 1: the oldest chunk has gone through; 0: not yet; -1 with e. */
static int end_chunk(struct comm *c, struct err *e)
{
    struct slot *s = &c->device->slot[c->ended % SLOTS];
    rtError_t rc = rtEventQuery(s->out_done); /* behind run_done, behind in_done */

    if (rc == rtErrorNotReady)
        return 0;
    if (rc != rtSuccess)
        return nccl_cuda_failed(e, "wait for a chunk", rc);
    atomic_fetch_add_explicit(&c->done_bytes, chunk_hi(c, c->ended) - chunk_lo(c, c->ended),
                              memory_order_relaxed);
    c->ended++;
    return 1;
}

/* What has happened to the communicator since. 1: in progress; 0: nothing; -1 with e. */
static int check_async(struct comm *c, struct err *e)
{
    ncclResult_t state = ncclSuccess, rc = ncclCommGetAsyncError(c->nccl, &state);

    if (rc == ncclSuccess)
        rc = state;
    if (rc == ncclSuccess || rc == ncclInProgress)
        return rc == ncclInProgress;
    return nccl_failed(c, e, c->task.op->name, rc);
}

int nccl_stage(struct comm *c, struct err *e)
{
    int async = check_async(c, e), ended;

    if (async < 0)
        return -1;
    while ((ended = c->ended < c->begun ? end_chunk(c, e) : 0) == 1)
        ;
    if (ended < 0)
        return -1;
    if (async) /* the call before is not on its stream yet */
        return 0;
    if (c->stage == STAGE_LAUNCHING) {
        c->stage = STAGE_MOVING;
        if (finish_chunk(c, e) != 0)
            return -1;
    }
    while (c->begun < c->chunks && c->begun - c->ended < SLOTS) {
        if (begin_chunk(c, e) != 0)
            return -1;
        if (c->stage == STAGE_LAUNCHING)
            return 0;
        if (finish_chunk(c, e) != 0)
            return -1;
    }
    return c->ended == c->chunks;
}
