/* workers_send.c - what ranks are told: JOIN, RUN, CANCEL, LEAVE. */
#include "server/workers_parts.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct frame out; /* large; built and sent within one function */

static void leave(const struct comm *c)
{
    out = (struct frame){.type = FRAME_leave, .leave.comm = c->id, .leave.broken = c->broken};
    for (uint32_t i = 0; i < c->n; i++) {
        struct worker *w = &workers.rank[c->ranks[i]];

        if (w->peer && c->joined[i] == w->info.epoch)
            peer_send_frame(w->peer, &out);
    }
}

/* Some of its ranks cannot meet on it (any more). */
static bool is_stale(const struct comm *c)
{
    if (c->broken || (c->ticket[0] && c->ticket_epoch != workers.rank[c->ranks[0]].info.epoch))
        return true;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->joined[i] && c->joined[i] != workers.rank[c->ranks[i]].info.epoch)
            return true;
    }
    return false;
}

/* As comms_use, fit to be joined by ticket; NULL with e, or without when *later is set. */
static struct comm *use_by_ticket(const uint32_t *ranks, uint32_t n, bool *later, struct err *e)
{
    struct worker *root = &workers.rank[ranks[0]];
    struct comm *c = comms_use(ranks, n, e);

    if (c && is_stale(c) && c->busy == 0) {
        c->broken = true; /* those that still know it must not wait for the others */
        comms_take(c);
        leave(c);
        comm_free(c);
        c = comms_use(ranks, n, e);
    }
    if (!c || c->ticket[0])
        return c;
    *later = !root->ticket[0];
    if (*later)
        return NULL;
    strcpy(c->ticket, root->ticket);
    c->ticket_epoch = root->info.epoch;
    root->ticket[0] = '\0'; /* it serves once */
    return c;
}

int workers_prepare(struct job *j, struct err *e)
{
    const struct job_record *r = j->record;
    bool later = false;

    if (workers.rank[r->ranks[0]].info.by_ticket)
        j->comm = use_by_ticket(r->ranks, r->n, &later, e);
    else
        j->comm = comms_use(r->ranks, r->n, e);
    return j->comm ? 0 : later ? 1 : -1;
}

static void forget_old_comms(void)
{
    struct comm *c;

    while ((c = comms_evict())) {
        leave(c);
        comm_free(c);
    }
}

/* Tells those ranks of the group that do not know it: their first job on it, or a new process. */
static void join(struct comm *c)
{
    bool built = false;

    for (uint32_t i = 0; i < c->n; i++) {
        struct worker *w = &workers.rank[c->ranks[i]];

        if (c->joined[i] == w->info.epoch)
            continue;
        if (!built) {
            out = (struct frame){.type = FRAME_join, .join.comm = c->id, .join.n = c->n};
            out.join.n_ranks = c->n;
            memcpy(out.join.ranks, c->ranks, c->n * sizeof c->ranks[0]);
            strcpy(out.join.ticket, c->ticket);
            built = true;
        }
        out.join.rank = i;
        peer_send_frame(w->peer, &out);
        c->joined[i] = w->info.epoch;
    }
}

void workers_meet(void)
{
    uint32_t n = workers.options.world_size, *ranks;
    bool later = false;
    struct comm *c;
    struct err e;

    if (workers_ready_count() < n || !workers.rank[0].info.by_ticket)
        return;
    ranks = calloc(n, sizeof *ranks);
    for (uint32_t i = 0; ranks && i < n; i++)
        ranks[i] = i;
    c = ranks ? use_by_ticket(ranks, n, &later, &e) : NULL; /* without: the first job makes it */
    free(ranks);
    if (c && !is_stale(c))
        join(c);
}

static void build_run(const struct job *j)
{
    const struct job_record *r = j->record;
    struct frame_run *f = &out.run;

    out.type = FRAME_run;
    f->job = j->seq;
    id_format('j', &r->id, f->id);
    f->attempt = r->attempts;
    f->epoch = 0; /* each rank's own */
    f->comm = j->comm->id;
    f->op = (uint32_t)(r->op - ops);
    f->dtype = r->dtype;
    f->split_axis = r->params.split_axis;
    f->concat_axis = r->params.concat_axis;
    f->src = r->params.src;
    f->dst = r->params.dst;
    f->in_shape = r->in_shape;
    f->n_inputs = f->n_outputs = r->n;
    for (uint32_t i = 0; i < r->n; i++) {
        bool gives = op_gives(r->op, &r->params, i);

        f->inputs[i] = gives ? tensor_arena_offset(j->inputs[i]) : FRAME_NO_OFFSET;
        f->outputs[i] = j->outputs[i] ? tensor_arena_offset(j->outputs[i]) : FRAME_NO_OFFSET;
    }
}

/* Where a RUN's epoch stands on the wire: after job, id and attempt, as frames.def has them. */
static size_t epoch_at(void)
{
    return FRAME_HEADER_BYTES + sizeof out.run.job + sizeof(uint32_t) + strlen(out.run.id) +
           sizeof out.run.attempt;
}

/* All ranks get the same bytes but for their epoch, so that a large group costs one encoding. */
static void send_run(const struct job *j)
{
    static uint8_t buf[LIMIT_FRAME_BYTES];
    size_t len, at = epoch_at();

    len = frame_encode(&out, buf, sizeof buf);
    assert(len > 0);
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct worker *w = &workers.rank[j->record->ranks[i]];

        memcpy(buf + at, &w->info.epoch, sizeof w->info.epoch);
        peer_send(w->peer, buf, len);
    }
}

void workers_run(struct job *j)
{
    struct comm *c = j->comm;

    assert(core_here());
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct worker *w = &workers.rank[j->record->ranks[i]];

        assert(w->info.state == WORKER_ready && w->seq == 0);
        w->seq = j->seq;
        w->attempt = j->record->attempts;
        w->cancelled = false;
        w->comm = c;
        c->busy++;
        worker_state(w, WORKER_busy);
    }
    forget_old_comms();
    join(c);
    build_run(j);
    send_run(j);
}

void worker_free(struct worker *w)
{
    core_timer_clear(&w->kill);
    w->seq = 0;
    w->comm->busy--;
    w->comm = NULL;
    worker_state(w, WORKER_ready);
}

static void cancel_ignored(struct core_timer *t)
{
    struct worker *w = CORE_OWNER(t, struct worker, kill);
    uint64_t seq = w->seq;

    if (w->peer)
        peer_drain(w->peer); /* its answer may have come while we were not looking */
    if (w->seq == seq && w->peer)
        worker_lose(w, "no answer to CANCEL");
}

void workers_cancel(struct job *j)
{
    assert(core_here());
    j->comm->broken = true;
    out = (struct frame){.type = FRAME_cancel};
    out.cancel.job = j->seq;
    out.cancel.attempt = j->record->attempts;
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct worker *w = &workers.rank[j->record->ranks[i]];

        if (w->seq != j->seq || w->cancelled || !w->peer)
            continue;
        w->cancelled = true;
        peer_send_frame(w->peer, &out);
        w->kill.fire = cancel_ignored;
        core_timer_set(&w->kill, clock_us() + LIMIT_CANCEL_MS * 1000ull);
    }
}
