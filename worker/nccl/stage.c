/* stage.c - a batch through the device, chunk by chunk: copy in, collective, copy out. A batch of
 * several tasks is one chunk of all of them, and one NCCL group.
 *
 * Three streams, ordered by events, so that copies and collectives of different chunks run side by
 * side. A slot is used again only when we saw that its last chunk's copy out, which comes after
 * all else of that chunk, has ended; so at most SLOTS chunks are pushed, and an abort has little to
 * wait for.
 */
#include "worker/nccl/nccl_parts.h"

#define PITCH_MAX 0x7fffffffull /* of a two-dimensional copy */
#define SHARE_MIN (64u << 10)   /* a shared result below that is copied out by one rank */

static uint64_t chunk_lo(const struct part *p, uint64_t chunk)
{
    return chunk * p->chunk_bytes;
}

static uint64_t chunk_hi(const struct part *p, uint64_t chunk)
{
    uint64_t hi = chunk_lo(p, chunk + 1);

    return hi < p->bytes ? hi : p->bytes;
}

/* ---- copies ---- */

struct transfer {
    uint8_t *slot, *tensor; /* tensor: the whole of it, in the arena or on the device */
    uint8_t *host; /* what corresponds to the slot in pinned memory; NULL: not on this way */
    bool unpack;   /* from there to the tensor: the device has done its part */
    const struct rows *rows;
    uint64_t offset; /* of the block within a row of blocks */
    bool in;         /* from the tensor to the slot */
    enum rtMemcpyKind kind;
    rtStream_t stream;
};

/* Rows between a tensor and pinned memory, where they lie one behind the other. */
static void copy_rows(uint8_t *tensor, uint64_t stride, uint8_t *pinned, bool in, uint64_t width,
                      uint64_t height)
{
    for (uint64_t row = 0; row < height; row++) {
        uint8_t *a = pinned + row * width, *b = tensor + row * stride;

        memcpy(in ? a : b, in ? b : a, width);
    }
}

static rtError_t copy_by_host(const struct transfer *t, uint8_t *tensor, uint64_t done,
                              uint64_t width, uint64_t height)
{
    uint8_t *host = t->host + done, *slot = t->slot + done;

    if (t->in || t->unpack)
        copy_rows(tensor, t->rows->stride, host, t->in, width, height);
    if (t->unpack)
        return rtSuccess;
    return rtMemcpyAsync(t->in ? slot : host, t->in ? host : slot, width * height, t->kind,
                         t->stream);
}

static rtError_t copy_run(const struct transfer *t, uint64_t done, uint64_t at, uint64_t width,
                          uint64_t height)
{
    const struct rows *r = t->rows;
    uint8_t *tensor = t->tensor + t->offset + at / r->len * r->stride + at % r->len;
    uint8_t *slot = t->slot + done, *to = t->in ? slot : tensor, *from = t->in ? tensor : slot;
    uint64_t to_pitch = t->in ? width : r->stride, from_pitch = t->in ? r->stride : width;

    if (t->host)
        return copy_by_host(t, tensor, done, width, height);
    if (height == 1)
        return rtMemcpyAsync(to, from, width, t->kind, t->stream);
    return rtMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, t->kind, t->stream);
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

static rtError_t copy_in(struct comm *c, const struct part *p, struct slot *s, uint64_t lo,
                         uint64_t hi)
{
    rtError_t rc = rtSuccess;

    for (uint32_t b = 0; p->in.at && !p->in.direct && b < p->in.blocks && rc == rtSuccess; b++) {
        uint64_t at = p->in.in_stage + b * (hi - lo);
        struct transfer t = {.slot = s->in + at,
                             .host = p->in.device || !s->host_in ? NULL : s->host_in + at,
                             .tensor = p->in.at,
                             .rows = &p->in.rows,
                             .offset = b * p->in.step,
                             .in = true,
                             .kind = p->in.device ? rtDeviceToDevice : rtHostToDevice,
                             .stream = c->stage->in};

        rc = copy_block(&t, lo, hi);
    }
    return rc;
}

/* Which blocks, and which bytes of them, of a shared output are ours to copy out: the ranks of each
 * host have one, and share the work. */
static bool is_mine(const struct comm *c, const struct part *p, uint32_t block, uint64_t *lo,
                    uint64_t *hi)
{
    uint64_t bytes = *hi - *lo, from = *lo;

    if (!p->shared || c->here == 1)
        return true;
    if (p->out.blocks > 1)
        return block % c->here == c->place;
    if (bytes < SHARE_MIN)
        return c->place == 0;
    *lo = from + bytes * c->place / c->here;
    *hi = from + bytes * (c->place + 1) / c->here;
    return true;
}

/* Twice where there is pinned memory on the way: to it, and to the arena when the device is done.
 */
static rtError_t copy_out(struct comm *c, const struct part *p, struct slot *s, uint64_t lo,
                          uint64_t hi, bool unpack)
{
    rtError_t rc = rtSuccess;

    for (uint32_t b = 0; p->out.at && !p->out.direct && b < p->out.blocks && rc == rtSuccess; b++) {
        uint64_t mine_lo = lo, mine_hi = hi, at;
        struct transfer t = {.tensor = p->out.at,
                             .unpack = unpack,
                             .rows = &p->out.rows,
                             .offset = b * p->out.step,
                             .kind = p->out.device ? rtDeviceToDevice : rtDeviceToHost,
                             .stream = c->stage->out};

        if (!is_mine(c, p, b, &mine_lo, &mine_hi))
            continue;
        at = p->out.in_stage + b * (hi - lo) + (mine_lo - lo);
        t.slot = s->out + at;
        t.host = p->out.device || !s->host_out ? NULL : s->host_out + at;
        rc = copy_block(&t, mine_lo, mine_hi);
    }
    return rc;
}

/* ---- a chunk ---- */

static rtError_t wait_for(rtStream_t stream, rtEvent_t event)
{
    return rtStreamWaitEvent(stream, event, 0);
}

static ncclResult_t launch_part(struct comm *c, const struct part *p, struct slot *s)
{
    uint64_t lo = chunk_lo(p, c->begun);
    struct chunk chunk = {.comm = c,
                          .task = p->task,
                          .in = p->in.direct ? p->in.at + lo : s->in + p->in.in_stage,
                          .out = p->out.direct ? p->out.at + lo : s->out + p->out.in_stage,
                          .bytes = chunk_hi(p, c->begun) - lo};

    return c->begun < p->chunks ? nccl_launch(&chunk) : ncclSuccess;
}

static bool launched(ncclResult_t rc)
{
    return rc == ncclSuccess || rc == ncclInProgress;
}

/* All parts' collectives. One group of many small ones costs one launch. */
static ncclResult_t launch(struct comm *c, struct slot *s)
{
    ncclResult_t rc = ncclSuccess, end;

    if (c->n_parts == 1)
        return launch_part(c, &c->parts[0], s);
    ncclGroupStart();
    for (uint32_t i = 0; i < c->n_parts && launched(rc); i++)
        rc = launch_part(c, &c->parts[i], s);
    end = ncclGroupEnd();
    return launched(rc) ? end : rc;
}

/* In, and the collective. Returns 0, or -1 with e. */
static int begin_chunk(struct comm *c, struct err *e)
{
    struct slot *s = &c->stage->slot[c->begun % SLOTS];
    ncclResult_t what;
    rtError_t rc = rtSuccess;

    for (uint32_t i = 0; i < c->n_parts && rc == rtSuccess; i++) {
        const struct part *p = &c->parts[i];

        if (c->begun < p->chunks)
            rc = copy_in(c, p, s, chunk_lo(p, c->begun), chunk_hi(p, c->begun));
    }
    if (rc == rtSuccess)
        rc = rtEventRecord(s->in_done, c->stage->in);
    if (rc == rtSuccess)
        rc = wait_for(c->run, s->in_done);
    if (rc != rtSuccess)
        return nccl_cuda_failed(e, "copy in", rc);
    what = launch(c, s);
    if (!launched(what))
        return nccl_failed(c, e, c->parts[0].task->op->name, what);
    c->phase = what == ncclInProgress ? PHASE_LAUNCHING : PHASE_MOVING;
    return 0;
}

/* The collective is on its stream: out, behind it. Returns 0, or -1 with e. */
static int finish_chunk(struct comm *c, struct err *e)
{
    struct slot *s = &c->stage->slot[c->begun % SLOTS];
    rtError_t rc = rtEventRecord(s->run_done, c->run);

    if (rc == rtSuccess)
        rc = wait_for(c->stage->out, s->run_done);
    for (uint32_t i = 0; i < c->n_parts && rc == rtSuccess; i++) {
        const struct part *p = &c->parts[i];

        if (c->begun < p->chunks)
            rc = copy_out(c, p, s, chunk_lo(p, c->begun), chunk_hi(p, c->begun), false);
    }
    if (rc == rtSuccess)
        rc = rtEventRecord(s->out_done, c->stage->out);
    if (rc != rtSuccess)
        return nccl_cuda_failed(e, "copy out", rc);
    c->begun++;
    return 0;
}

/* 1: the oldest chunk has gone through; 0: not yet; -1 with e. */
static int end_chunk(struct comm *c, struct err *e)
{
    struct slot *s = &c->stage->slot[c->ended % SLOTS];
    rtError_t rc = rtEventQuery(s->out_done); /* behind run_done, behind in_done */

    if (rc == rtErrorNotReady)
        return 0;
    if (rc != rtSuccess)
        return nccl_cuda_failed(e, "wait for a chunk", rc);
    for (uint32_t i = 0; i < c->n_parts; i++) {
        const struct part *p = &c->parts[i];

        if (c->ended >= p->chunks)
            continue;
        if (s->host_out && !p->out.device)
            copy_out(c, p, s, chunk_lo(p, c->ended), chunk_hi(p, c->ended), true);
        c->done_bytes += chunk_hi(p, c->ended) - chunk_lo(p, c->ended);
    }
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
    return nccl_failed(c, e, c->parts[0].task->op->name, rc);
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
    if (c->phase == PHASE_LAUNCHING) {
        c->phase = PHASE_MOVING;
        if (finish_chunk(c, e) != 0)
            return -1;
    }
    while (c->begun < c->chunks && c->begun - c->ended < SLOTS) {
        if (begin_chunk(c, e) != 0)
            return -1;
        if (c->phase == PHASE_LAUNCHING)
            return 0;
        if (finish_chunk(c, e) != 0)
            return -1;
    }
    return c->ended == c->chunks;
}
