/* workers_frames.c - what workers say once they have joined: heartbeats, DONE, FAILED. */
#include "server/resident.h"
#include "server/scheduler.h"
#include "server/workers_parts.h"

#include <stdio.h>

/* What the rank gave and got. */
static uint64_t moved_by(const struct job_rank_link *part)
{
    const struct job_record *r = part->job->record;
    uint32_t rank = (uint32_t)(part - part->job->links);
    uint64_t size = dtypes[r->dtype].size_bytes;

    return (record_gives(r, rank) ? shape_count(&r->in_shape) * size : 0) +
           (record_gets(r, rank) ? shape_count(&r->out_shape) * size : 0);
}

static void on_done(struct worker *w, const struct frame_done *f)
{
    uint64_t busy_ns = f->end_ns > f->start_ns ? f->end_ns - f->start_ns : 0;
    struct job_rank_link *part = f->epoch == w->info.epoch ? worker_part(w, f->job, f->attempt)
                                                           : NULL;

    if (!part) {
        job_count_late();
        return;
    }
    worker_count_job(w, true, busy_ns / 1000, moved_by(part));
    worker_answered(w, part);
    job_rank_done(f->job, f->attempt, w->info.rank, f->start_ns, f->end_ns);
    scheduler_next();
}

/* The worker's words, made fit for a JSON document by err_set but for bytes above ASCII. */
static void on_failed(struct worker *w, struct frame_failed *f)
{
    struct job_rank_link *part = f->epoch == w->info.epoch ? worker_part(w, f->job, f->attempt)
                                                           : NULL;
    struct err why;

    if (!part) {
        job_count_late();
        return;
    }
    for (char *c = f->detail; *c; c++) {
        if (*c & 0x80)
            *c = '?';
    }
    err_set(&why, err_find(f->code), "%s", f->detail);
    worker_count_job(w, false, 0, 0);
    part->job->comm->broken = true;
    worker_answered(w, part);
    job_rank_failed(f->job, f->attempt, w->info.rank, &why);
    scheduler_next();
}

static void on_ticket(struct worker *w, const struct frame_ticket *f)
{
    if (f->epoch != w->info.epoch)
        return;
    snprintf(w->ticket, sizeof w->ticket, "%s", f->ticket);
    workers_meet();
    scheduler_freed(); /* jobs that wait for it */
    scheduler_next();
}

void worker_frame(struct peer *p, const struct frame *f)
{
    struct worker *w = p->owner;
    char how[80];

    if (workers.stopping)
        return;
    worker_heard(w);
    switch (f->type) {
    case FRAME_heartbeat:
        break;
    case FRAME_ticket:
        on_ticket(w, &f->ticket);
        break;
    case FRAME_fetched:
        resident_fetched(w->info.rank, &f->fetched);
        break;
    case FRAME_store_put:
        workers_pass_on(w, &f->store_put);
        break;
    case FRAME_seen:
        if (f->seen.epoch == w->info.epoch)
            worker_seen(w, &f->seen);
        break;
    case FRAME_done:
        on_done(w, &f->done);
        break;
    case FRAME_failed: {
        struct frame_failed failed = f->failed;

        on_failed(w, &failed);
        break;
    }
    default:
        snprintf(how, sizeof how, "a %s frame, which is not its to send", frame_type_name(f->type));
        worker_lose(w, how);
    }
}

const struct frame *worker_refusal(enum err_code code, const char *why)
{
    static struct frame f; /* large */

    f = (struct frame){.type = FRAME_refuse};
    snprintf(f.refuse.code, sizeof f.refuse.code, "%s", err_name(code));
    snprintf(f.refuse.detail, sizeof f.refuse.detail, "%s", why);
    return &f;
}

void worker_unlinked(struct peer *p, const char *how)
{
    struct worker *w = p->owner;

    if (w->info.tcp || w->process.pidfd < 0) { /* there is nobody left to be told */
        peer_close(w->peer);
        w->peer = NULL;
    }
    worker_lose(w, how);
}
