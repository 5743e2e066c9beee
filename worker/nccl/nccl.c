/* nccl.c - the NCCL backend's table: a batch submitted, polled, reported.
 *
 * What fails is aborted before it is reported: no byte of the arena is written any more.
 */
#include "worker/nccl/resident.h"
#include "worker/nccl/nccl_parts.h"
#include "schema/clock.h"

static bool is_busy(const struct device *d)
{
    for (const struct comm *c = d->comms; c; c = c->next) {
        if (c->phase == PHASE_MOVING || c->phase == PHASE_LAUNCHING)
            return true;
    }
    return false;
}

/* Where its resident input lies, and room for its resident output. Returns 0, or -1 with e. */
static int find_resident(struct device *d, const struct task *t, uint8_t **held, uint8_t **kept,
                         struct err *e)
{
    *held = *kept = NULL;
    if (t->held) {
        *held = resident_find(d, t->held, t->in_bytes);
        if (!*held)
            return err_set(e, ERR_worker_failed, "%s does not hold the input any more",
                           d->at.device);
    }
    return t->keep ? resident_make(d, t->keep, t->out_bytes, kept, e) : 0;
}

/* Small tensors of a batch lie behind each other in one slot. */
static void place(struct end *end, uint64_t bytes, uint64_t *at)
{
    end->in_stage = *at;
    if (end->at && !end->direct)
        *at += (end->blocks * bytes + GRAIN - 1) / GRAIN * GRAIN;
}

static int plan_batch(struct comm *c, struct task *const *tasks, uint32_t n, struct err *e)
{
    uint64_t in_at = 0, out_at = 0;

    c->n_parts = 0;
    c->chunks = c->begun = c->ended = c->done_bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct part *p = &c->parts[i];
        uint8_t *held, *kept;

        if (find_resident(c->device, tasks[i], &held, &kept, e) != 0)
            return -1;
        nccl_plan(p, tasks[i], held, kept);
        c->n_parts++;
        if (n > 1 && p->chunks > 1)
            return err_set(e, ERR_worker_failed, "a task of %llu bytes is too large for a batch",
                           (unsigned long long)p->bytes);
        place(&p->in, p->bytes, &in_at);
        place(&p->out, p->bytes, &out_at);
        if (p->chunks > c->chunks)
            c->chunks = p->chunks;
    }
    if (n > 1 && (in_at > SLOT_BYTES || out_at > SLOT_BYTES))
        return err_set(e, ERR_worker_failed, "a batch of %u tasks is too large", n);
    return 0;
}

static int nccl_submit(struct comm *c, struct task *const *tasks, uint32_t n, struct err *e)
{
    if (!c->nccl)
        return err_set(e, ERR_worker_failed, "the communicator was aborted");
    if (c->phase != PHASE_IDLE)
        return err_set(e, ERR_worker_failed, "a batch is running on this communicator");
    if (!is_busy(c->device))
        resident_sweep(c->device);
    c->start_ns = clock_ns();
    c->stage = nccl_take_stage(c->device, e);
    if (!c->stage)
        return -1;
    if (plan_batch(c, tasks, n, e) != 0) {
        for (uint32_t i = 0; i < n; i++)
            resident_drop(c->device, tasks[i]->keep);
        c->stage->taken = false;
        return -1;
    }
    c->phase = PHASE_MOVING;
    c->reported = 0;
    return 0;
}

static int report(struct comm *c, struct done *out)
{
    *out = (struct done){
        .job = c->parts[c->reported].task->job, .start_ns = c->start_ns, .end_ns = c->end_ns};
    if (++c->reported == c->n_parts)
        c->phase = PHASE_IDLE;
    return 1;
}

static int report_failure(struct comm *c, const struct err *why, struct done *out)
{
    *out = (struct done){.job = c->parts[0].task->job, .rc = -1, .err = *why};
    out->start_ns = c->start_ns;
    out->end_ns = clock_ns();
    nccl_abort(c);
    out->fatal = nccl_broken();
    return 1;
}

static int nccl_poll(struct comm *c, struct done *out, struct err *e)
{
    struct err why;
    int rc;

    if (c->phase == PHASE_IDLE)
        return err_set(e, ERR_worker_failed, "nothing was submitted");
    if (c->phase == PHASE_ENDED)
        return report(c, out);
    if (c->phase == PHASE_LOST) {
        err_set(&why, ERR_aborted, "aborted with another communicator of the device");
        return report_failure(c, &why, out);
    }
    rc = nccl_meet(c, &why);
    if (rc == 1)
        rc = nccl_stage(c, &why);
    if (rc < 0)
        return report_failure(c, &why, out);
    if (rc == 0) {
        nccl_nap(c->start_ns);
        return 0;
    }
    c->end_ns = clock_ns();
    c->stage->taken = false;
    c->phase = PHASE_ENDED;
    return report(c, out);
}

static uint64_t nccl_progress(const struct comm *c)
{
    return c->done_bytes;
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
    .abort = nccl_abort,
    .leave = nccl_leave,
    .close = nccl_close,
    .fetch = resident_fetch,
    .drop = resident_drop,
};
