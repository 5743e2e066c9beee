/* workers_send.c - what ranks are told: JOIN, RUN, CANCEL, LEAVE. */
#include "server/resident.h"
#include "server/scheduler.h"
#include "server/stage.h"
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

/* As comms_use; one whose ranks cannot meet on it any more is made anew. */
static struct comm *use(const uint32_t *ranks, uint32_t n, uint32_t stream, const char *backend,
                        struct err *e)
{
    struct comm *c = comms_use(ranks, n, stream, backend, e);

    if (!c || !is_stale(c) || c->busy > 0)
        return c;
    c->broken = true; /* those that still know it must not wait for the others */
    comms_take(c);
    leave(c);
    comm_free(c);
    return comms_use(ranks, n, stream, backend, e);
}

/* Fit to be joined by ticket; NULL with e, or without when *later is set. */
static struct comm *use_by_ticket(const uint32_t *ranks, uint32_t n, uint32_t stream, bool *later,
                                  struct err *e)
{
    struct worker *root = &workers.rank[ranks[0]];
    struct comm *c = use(ranks, n, stream, root->info.backend, e);

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
    const struct worker_info *root = &workers.rank[r->ranks[0]].info;
    const char *backend = root->backend;
    bool later = false;

    if (workers_see(j, e) != 0)
        return -1;
    if (workers.remote > 0 && workers_backend(r, &backend, e) != 0)
        return -1;
    if (root->by_ticket && strcmp(backend, root->backend) == 0)
        j->comm = use_by_ticket(r->ranks, r->n, r->stream, &later, e);
    else
        j->comm = use(r->ranks, r->n, r->stream, backend, e);
    return j->comm ? 0 : later ? 1 : -1;
}

static void forget_old_comms(bool gpus)
{
    struct comm *c;

    while ((c = comms_evict(gpus ? COMMS_MAX_GPU : COMMS_MAX))) {
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
            out.join.stream = c->stream;
            memcpy(out.join.ranks, c->ranks, c->n * sizeof c->ranks[0]);
            out.join.n_hosts = c->n;
            workers_hosts_of(c->ranks, c->n, out.join.hosts);
            snprintf(out.join.backend, sizeof out.join.backend, "%s", c->backend);
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
    c = ranks ? use_by_ticket(ranks, n, 0, &later, &e) : NULL; /* without: the first job makes it */
    free(ranks);
    if (c && !is_stale(c))
        join(c);
}

void workers_pass_on(const struct worker *w, const struct frame_store_put *f)
{
    struct comm *c = comms_find(f->comm);
    bool its_own = false;

    for (uint32_t i = 0; c && i < c->n; i++)
        its_own |= c->ranks[i] == w->info.rank && c->joined[i] == w->info.epoch;
    if (!its_own)
        return; /* it was given up meanwhile */
    out.type = FRAME_store_put;
    out.store_put = *f;
    for (uint32_t i = 0; i < c->n; i++) {
        struct worker *other = &workers.rank[c->ranks[i]];

        if (other != w && other->peer && c->joined[i] == other->info.epoch)
            peer_send_frame(other->peer, &out);
    }
}

/* What lies in the arena of that host (NULL: the server's). */
static void tell_places(const struct job *j, const struct host *h)
{
    const struct job_record *r = j->record;
    struct frame_run *f = &out.run;

    for (uint32_t i = 0; i < f->n_masks; i++)
        f->masks[i] = stage_need(j, r->n + i, h);
    for (uint32_t i = 0; i < r->n; i++) {
        f->inputs[i] = f->held[i] ? FRAME_NO_OFFSET : stage_need(j, i, h);
        f->outputs[i] = f->keep[i] ? FRAME_NO_OFFSET : stage_output(j, i, h);
    }
}

static void build_run(const struct job *j, bool more)
{
    const struct job_record *r = j->record;
    struct frame_run *f = &out.run;

    out.type = FRAME_run;
    f->job = j->seq;
    id_format('j', &r->id, f->id);
    f->attempt = r->attempts;
    f->epoch = 0; /* each rank's own */
    f->comm = j->comm->id;
    f->more = more;
    f->op = (uint32_t)(r->op - ops);
    f->dtype = r->dtype;
    f->split_axis = r->params.split_axis;
    f->concat_axis = r->params.concat_axis;
    f->src = r->params.src;
    f->dst = r->params.dst;
    f->in_shape = r->in_shape;
    f->n_inputs = f->n_outputs = r->n;
    f->n_held = f->n_keep = 0;
    f->mask = r->mask;
    f->mask_reduce = r->mask_reduce;
    f->n_masks = r->mask == MASK_NONE ? 0 : r->n;
    for (uint32_t i = 0; i < f->n_masks; i++)
        f->masks[i] = tensor_arena_offset(j->inputs[r->n + i]);
    for (uint32_t i = 0; i < r->n; i++) {
        bool gives = record_gives(r, i);

        f->held[i] = gives ? resident_input(j, i) : 0;
        f->keep[i] = resident_output(j->outputs[i]);
        f->inputs[i] = gives && !f->held[i] ? tensor_arena_offset(j->inputs[i]) : FRAME_NO_OFFSET;
        f->outputs[i] = j->outputs[i] && !f->keep[i] ? tensor_arena_offset(j->outputs[i])
                                                     : FRAME_NO_OFFSET;
        if (f->held[i])
            f->n_held = r->n;
        if (f->keep[i])
            f->n_keep = r->n;
    }
}

/* Where a RUN's epoch stands on the wire: after job, id and attempt, as frames.def has them. */
static size_t epoch_at(void)
{
    return FRAME_HEADER_BYTES + sizeof out.run.job + sizeof(uint32_t) + strlen(out.run.id) +
           sizeof out.run.attempt;
}

/* RUNs as one rank gets them. */
static struct {
    uint8_t bytes[4 * LIMIT_FRAME_BYTES];
    size_t len;
    size_t epoch[LIMIT_BATCH_JOBS]; /* where each of them has one */
    uint32_t n;
} parcel;

static void pack_run(void)
{
    size_t len = frame_encode(&out, parcel.bytes + parcel.len, LIMIT_FRAME_BYTES);

    assert(len > 0);
    parcel.epoch[parcel.n++] = parcel.len + epoch_at();
    parcel.len += len;
}

static void send_parcel(const struct worker *w)
{
    for (uint32_t k = 0; k < parcel.n; k++)
        memcpy(parcel.bytes + parcel.epoch[k], &w->info.epoch, sizeof w->info.epoch);
    peer_send(w->peer, parcel.bytes, parcel.len);
}

/* All ranks of a host get the same bytes but for their epoch, so that a large group costs one
 * encoding a host. */
static void send_staged(const struct job *j)
{
    const struct host *host = workers.rank[j->record->ranks[0]].host;

    build_run(j, false);
    for (uint32_t i = 0; i < j->record->n; i++) {
        const struct worker *w = &workers.rank[j->record->ranks[i]];

        if (i == 0 || w->host != host) {
            host = w->host;
            tell_places(j, host);
            parcel.n = 0;
            parcel.len = 0;
            pack_run();
        }
        send_parcel(w);
    }
}

/* And all jobs of a batch go to a rank in one call of the system, as many as the parcel holds. */
static void send_runs(struct job *const *jobs, uint32_t n)
{
    const struct job_record *r = jobs[0]->record;

    for (uint32_t k = 0; k < n;) {
        parcel.n = 0;
        parcel.len = 0;
        for (; k < n && parcel.len + LIMIT_FRAME_BYTES <= sizeof parcel.bytes; k++) {
            build_run(jobs[k], k + 1 < n);
            pack_run();
        }
        for (uint32_t i = 0; i < r->n; i++)
            send_parcel(&workers.rank[r->ranks[i]]);
    }
}

/* ---- what ranks run ---- */

void worker_offer(struct worker *w, uint32_t lane)
{
    bool there = w->info.state == WORKER_ready || w->info.state == WORKER_busy;

    scheduler_rank(w->info.rank, lane, there && w->in_lane[lane] == 0);
}

static void takes(struct worker *w, struct job_rank_link *part)
{
    struct job *j = part->job;
    uint32_t lane = scheduler_lane(j->record);

    part->cancel_us = 0;
    part->prev_run = NULL;
    part->next_run = w->running;
    if (w->running)
        w->running->prev_run = part;
    w->running = part;
    w->in_lane[lane]++;
    j->comm->busy++;
    worker_offer(w, lane);
    if (w->info.state == WORKER_ready)
        worker_state(w, WORKER_busy);
}

void worker_answered(struct worker *w, struct job_rank_link *part)
{
    uint32_t lane = scheduler_lane(part->job->record);

    *(part->prev_run ? &part->prev_run->next_run : &w->running) = part->next_run;
    if (part->next_run)
        part->next_run->prev_run = part->prev_run;
    w->in_lane[lane]--;
    part->job->comm->busy--;
    if (!w->running && w->info.state == WORKER_busy)
        worker_state(w, WORKER_ready);
    worker_offer(w, lane);
}

struct job_rank_link *worker_part(struct worker *w, uint64_t seq, uint32_t attempt)
{
    struct job_rank_link *part = w->running;

    while (part && (part->job->seq != seq || part->job->record->attempts != attempt))
        part = part->next_run;
    return part;
}

void workers_take(struct job *const *jobs, uint32_t n)
{
    assert(core_here() && n > 0);
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t i = 0; i < jobs[k]->record->n; i++) {
            jobs[k]->links[i].job = jobs[k];
            takes(&workers.rank[jobs[k]->record->ranks[i]], &jobs[k]->links[i]);
        }
    }
}

void workers_tell(struct job *const *jobs, uint32_t n)
{
    forget_old_comms(workers.rank[jobs[0]->record->ranks[0]].info.by_ticket);
    join(jobs[0]->comm);
    if (jobs[0]->stage)
        send_staged(jobs[0]); /* it is alone */
    else
        send_runs(jobs, n);
}

void workers_run(struct job *const *jobs, uint32_t n)
{
    workers_take(jobs, n);
    workers_tell(jobs, n);
}

void workers_untake(struct job *j)
{
    assert(core_here());
    for (uint32_t i = 0; i < j->record->n; i++) {
        if (j->links[i].answered)
            continue;
        j->links[i].answered = true;
        worker_answered(&workers.rank[j->record->ranks[i]], &j->links[i]);
    }
}

/* ---- cancel ---- */

static void cancel_ignored(struct core_timer *t);

/* The earliest CANCEL that waits for its answer has until then. */
static void watch_cancels(struct worker *w)
{
    uint64_t first = UINT64_MAX;

    for (const struct job_rank_link *part = w->running; part; part = part->next_run) {
        if (part->cancel_us && part->cancel_us < first)
            first = part->cancel_us;
    }
    core_timer_clear(&w->kill);
    w->kill.fire = cancel_ignored;
    if (first != UINT64_MAX)
        core_timer_set(&w->kill, first + LIMIT_CANCEL_MS * 1000ull);
}

static void cancel_ignored(struct core_timer *t)
{
    struct worker *w = CORE_OWNER(t, struct worker, kill);
    uint64_t due = t->at_us;

    if (w->peer)
        peer_drain(w->peer); /* its answer may have come while we were not looking */
    if (!w->peer)
        return;
    watch_cancels(w);
    if (w->kill.slot && w->kill.at_us <= due)
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

        if (j->links[i].answered || j->links[i].cancel_us || !w->peer)
            continue;
        j->links[i].cancel_us = clock_us();
        peer_send_frame(w->peer, &out);
        watch_cancels(w);
    }
}
