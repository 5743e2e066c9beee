/* nccl.c - the NCCL backend: the device, communicators, and the vtable.
 *
 * Communicators are made without blocking and polled, so that the worker always hears CANCEL. Ranks
 * meet by a unique id, which the server carries from the group's first rank to the others. What
 * fails is aborted before it is reported: no byte of the arena is written any more. A device that
 * failed is not used again, nor a process in which making a communicator failed (NCCL 2.28 keeps a
 * group level open then): the worker reports, exits, and is started anew.
 */
#include "worker/nccl/nccl_parts.h"
#include "schema/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAP_NS 20000     /* of a poll that finds nothing to do */
#define FINALIZE_MS 1000 /* then the communicator is aborted */

static bool broken; /* the device, or this process' NCCL: nothing is called any more but to leave */

int nccl_cuda_failed(struct err *e, const char *call, rtError_t rc)
{
    broken = true;
    return err_set(e, ERR_worker_failed, "%s: CUDA error %d, %s", call, (int)rc,
                   rtGetErrorString(rc));
}

int nccl_failed(struct comm *c, struct err *e, const char *call, ncclResult_t rc)
{
    const char *last = ncclGetLastError(c->nccl);

    return err_set(e, ERR_worker_failed, "%s: NCCL error %d, %s%s%s", call, (int)rc,
                   ncclGetErrorString(rc), last && *last ? ": " : "", last ? last : "");
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
}

/* ---- the device ---- */

static void close_slot(struct slot *s)
{
    rtFree(s->in);
    rtFree(s->out);
    if (s->in_done)
        rtEventDestroy(s->in_done);
    if (s->run_done)
        rtEventDestroy(s->run_done);
    if (s->out_done)
        rtEventDestroy(s->out_done);
}

/* Whatever of it was opened. */
static void release(struct device *d)
{
    for (int i = 0; i < SLOTS; i++)
        close_slot(&d->slot[i]);
    if (d->in)
        rtStreamDestroy(d->in);
    if (d->run)
        rtStreamDestroy(d->run);
    if (d->out)
        rtStreamDestroy(d->out);
    if (d->registered)
        rtHostUnregister(d->at.arena);
}

static void nccl_close(struct device *d)
{
    if (!broken)
        release(d);
    free(d);
}

static rtError_t open_slot(struct slot *s)
{
    rtError_t rc = rtMalloc((void **)&s->in, SLOT_BYTES);

    if (rc == rtSuccess)
        rc = rtMalloc((void **)&s->out, SLOT_BYTES);
    if (rc == rtSuccess)
        rc = rtEventCreate(&s->in_done, rtDisableTiming);
    if (rc == rtSuccess)
        rc = rtEventCreate(&s->run_done, rtDisableTiming);
    if (rc == rtSuccess)
        rc = rtEventCreate(&s->out_done, rtDisableTiming);
    return rc;
}

static rtError_t open_streams(struct device *d)
{
    rtError_t rc = rtStreamCreate(&d->in, rtNonBlocking);

    if (rc == rtSuccess)
        rc = rtStreamCreate(&d->run, rtNonBlocking);
    if (rc == rtSuccess)
        rc = rtStreamCreate(&d->out, rtNonBlocking);
    for (int i = 0; i < SLOTS && rc == rtSuccess; i++)
        rc = open_slot(&d->slot[i]);
    return rc;
}

static int nccl_open(struct device **out, const struct place *at, struct err *e)
{
    struct device *d = calloc(1, sizeof *d);
    rtError_t rc;

    if (!d)
        return err_set(e, ERR_no_memory, "device");
    d->at = *at;
    if (nccl_find_number(at->device, &d->number, e) != 0) {
        free(d);
        return -1;
    }
    rc = rtSetDevice(d->number);
    if (rc == rtSuccess)
        rc = open_streams(d);
    if (rc != rtSuccess) {
        err_set(e, ERR_worker_failed, "%s: %s (%llu MiB of its memory are needed)", at->device,
                rtGetErrorString(rc), (unsigned long long)(2 * SLOTS * SLOT_BYTES >> 20));
        nccl_close(d);
        return -1;
    }
    rc = rtHostRegister(at->arena, at->arena_bytes);
    d->registered = rc == rtSuccess;
    if (!d->registered) {
        err_set(e, ERR_worker_failed, "pin %llu MiB of arena: %s; a smaller --arena-size may do",
                (unsigned long long)(at->arena_bytes >> 20), rtGetErrorString(rc));
        nccl_close(d);
        return -1;
    }
    *out = d;
    return 0;
}

/* ---- communicators ---- */

static const char digits[] = "0123456789abcdef";

static int nccl_ticket(struct device *d, char *out, size_t size, struct err *e)
{
    ncclUniqueId id;
    ncclResult_t rc = ncclGetUniqueId(&id);

    (void)d;
    if (rc != ncclSuccess)
        return err_set(e, ERR_worker_failed, "ncclGetUniqueId: %s: %s", ncclGetErrorString(rc),
                       ncclGetLastError(NULL));
    if (size < 2 * sizeof id + 1)
        return err_set(e, ERR_internal, "a ticket of %zu bytes does not fit", 2 * sizeof id + 1);
    for (size_t i = 0; i < sizeof id; i++) {
        out[2 * i] = digits[(uint8_t)id.internal[i] >> 4];
        out[2 * i + 1] = digits[(uint8_t)id.internal[i] & 15];
    }
    out[2 * sizeof id] = '\0';
    return 0;
}

static int read_ticket(const char *text, ncclUniqueId *id, struct err *e)
{
    uint8_t byte[sizeof *id];

    if (strlen(text) != 2 * sizeof *id || strspn(text, digits) != 2 * sizeof *id)
        return err_set(e, ERR_link, "JOIN carries no unique id");
    for (size_t i = 0; i < sizeof byte; i++)
        byte[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 |
                            (strchr(digits, text[2 * i + 1]) - digits));
    memcpy(id->internal, byte, sizeof byte);
    return 0;
}

static int nccl_join(struct device *d, const struct seat *seat, struct comm **out, struct err *e)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    ncclResult_t rc;
    struct comm *c;

    if (read_ticket(seat->ticket, &id, e) != 0)
        return -1;
    c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_no_memory, "communicator of %u ranks", seat->n);
    c->device = d;
    c->n = seat->n;
    c->rank = seat->rank;
    config.blocking = 0;
    rc = ncclCommInitRankConfig(&c->nccl, (int)seat->n, id, (int)seat->rank, &config);
    if (rc != ncclSuccess && rc != ncclInProgress) {
        broken = true;
        nccl_failed(c, e, "ncclCommInitRankConfig", rc);
        free(c);
        return -1;
    }
    *out = c;
    return 0;
}

/* After it nothing of the task runs on the device. */
static void abort_comm(struct comm *c)
{
    struct device *d = c->device;

    if (c->nccl)
        ncclCommAbort(c->nccl);
    c->nccl = NULL;
    c->stage = STAGE_IDLE;
    rtStreamSynchronize(d->in);
    rtStreamSynchronize(d->run);
    rtStreamSynchronize(d->out);
}

static bool finalized(struct comm *c)
{
    uint64_t until = clock_ns() + FINALIZE_MS * 1000000ull;
    ncclResult_t state, rc = ncclCommFinalize(c->nccl);

    if (rc != ncclSuccess && rc != ncclInProgress)
        return false;
    do {
        if (ncclCommGetAsyncError(c->nccl, &state) != ncclSuccess)
            return false;
        if (state != ncclInProgress)
            return state == ncclSuccess;
        nap();
    } while (clock_ns() < until);
    return false;
}

static void nccl_leave(struct comm *c, bool peers_lost)
{
    if (c->nccl && !peers_lost && c->ready && finalized(c))
        ncclCommDestroy(c->nccl);
    else if (c->nccl)
        ncclCommAbort(c->nccl);
    free(c);
}

/* ---- tasks ---- */

static int nccl_submit(struct comm *c, const struct task *t, struct err *e)
{
    if (!c->nccl)
        return err_set(e, ERR_worker_failed, "the communicator was aborted");
    if (c->stage != STAGE_IDLE)
        return err_set(e, ERR_worker_failed, "a task is running on this communicator");
    c->task = *t;
    nccl_plan(c);
    c->stage = STAGE_MOVING;
    atomic_store_explicit(&c->done_bytes, 0, memory_order_relaxed);
    c->start_ns = clock_ns();
    return 0;
}

/* 1: every rank has come; 0: not yet; -1 with e. */
static int meet(struct comm *c, struct err *e)
{
    ncclResult_t state = ncclSuccess, rc;

    if (c->ready)
        return 1;
    rc = ncclCommGetAsyncError(c->nccl, &state);
    if (rc == ncclSuccess)
        rc = state;
    if (rc == ncclInProgress)
        return 0;
    c->ready = rc == ncclSuccess;
    if (c->ready)
        return 1;
    broken = true;
    return nccl_failed(c, e, "ncclCommInitRankConfig", rc);
}

static int nccl_poll(struct comm *c, struct done *out, struct err *e)
{
    struct err why;
    int rc;

    if (c->stage == STAGE_IDLE)
        return err_set(e, ERR_worker_failed, "nothing was submitted");
    rc = meet(c, &why);
    if (rc == 1)
        rc = nccl_stage(c, &why);
    if (rc == 0) {
        nap();
        return 0;
    }
    *out = (struct done){.job = c->task.job, .start_ns = c->start_ns, .end_ns = clock_ns()};
    if (rc < 0) {
        out->rc = -1;
        out->err = why;
        abort_comm(c);
        out->fatal = broken;
    }
    c->stage = STAGE_IDLE;
    return 1;
}

static uint64_t nccl_progress(const struct comm *c)
{
    return atomic_load_explicit(&c->done_bytes, memory_order_relaxed);
}

const struct backend backend_nccl = {
    .name = "nccl",
    .devices = nccl_devices,
    .describe = nccl_describe,
    .reduces = nccl_reduces,
    .ticket = nccl_ticket,
    .open = nccl_open,
    .join = nccl_join,
    .submit = nccl_submit,
    .poll = nccl_poll,
    .progress = nccl_progress,
    .abort = abort_comm,
    .leave = nccl_leave,
    .close = nccl_close,
};
