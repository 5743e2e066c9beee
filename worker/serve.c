/* serve.c - the frame loop: submit, poll, report. */
#include "worker/serve.h"
#include "schema/clock.h"
#include "schema/failpoint.h"
#include "schema/log.h"
#include "worker/link.h"
#include "worker/task.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

volatile sig_atomic_t serve_stopping;

/* A group that this rank belongs to. */
struct member {
    struct member *next;
    uint64_t id;
    uint32_t n, rank;
    struct comm *comm;
};

static struct {
    const struct backend *backend;
    struct device *device;
    uint64_t epoch;
    struct member *members; /* the last used first */
    struct member *working; /* NULL: idle */
    uint64_t job;
    uint32_t attempt;
    struct task task;
    struct frame in, out;
    atomic_uint_least64_t progress; /* of the task at hand */
} srv;

uint64_t serve_progress(void)
{
    return atomic_load_explicit(&srv.progress, memory_order_relaxed);
}

static struct member *find_member(uint64_t id)
{
    for (struct member **at = &srv.members; *at; at = &(*at)->next) {
        struct member *m = *at;

        if (m->id == id) {
            *at = m->next;
            m->next = srv.members;
            srv.members = m;
            return m;
        }
    }
    return NULL;
}

/* ---- reports ---- */

static int report_failed(uint64_t job, uint32_t attempt, const char *code, const char *detail,
                         struct err *e)
{
    srv.out.type = FRAME_failed;
    srv.out.failed = (struct frame_failed){.epoch = srv.epoch, .job = job, .attempt = attempt};
    snprintf(srv.out.failed.code, sizeof srv.out.failed.code, "%s", code);
    snprintf(srv.out.failed.detail, sizeof srv.out.failed.detail, "%s", detail);
    return link_send(&srv.out, e);
}

static int report_done(const struct done *d, struct err *e)
{
    int rc;

    failpoint("worker.before_done");
    srv.out.type = FRAME_done;
    srv.out.done = (struct frame_done){.epoch = srv.epoch,
                                       .job = srv.job,
                                       .attempt = srv.attempt,
                                       .start_ns = d->start_ns,
                                       .end_ns = d->end_ns};
    rc = link_send(&srv.out, e);
    failpoint("worker.after_done");
    return rc;
}

static bool reduces(const struct task *t)
{
    return t->op->reduce == REDUCE_NONE || srv.backend->reduces(t->dtype);
}

/* One is always at the server, so that a new group has not to be waited for. */
static int send_ticket(struct err *e)
{
    if (!srv.backend->ticket)
        return 0;
    srv.out.type = FRAME_ticket;
    srv.out.ticket = (struct frame_ticket){.epoch = srv.epoch};
    if (srv.backend->ticket(srv.device, srv.out.ticket.ticket, sizeof srv.out.ticket.ticket, e) !=
        0)
        return -1;
    return link_send(&srv.out, e);
}

static void at_rest(void)
{
    srv.working = NULL;
    link_working_on(0, 0);
}

/* ---- frames ---- */

static int on_join(const struct frame_join *f, struct err *e)
{
    struct member *m;
    struct seat seat = {
        .id = f->comm, .n = f->n, .rank = f->rank, .ranks = f->ranks, .ticket = f->ticket};

    if (f->n == 0 || f->n > LIMIT_RANKS || f->rank >= f->n || f->n_ranks != f->n)
        return err_set(e, ERR_link, "JOIN names rank %u of %u", f->rank, f->n);
    if (find_member(f->comm))
        return err_set(e, ERR_link, "JOIN names a group twice");
    m = calloc(1, sizeof *m);
    if (!m)
        return err_set(e, ERR_no_memory, "group of %u ranks", f->n);
    m->id = f->comm;
    m->n = f->n;
    m->rank = f->rank;
    if (srv.backend->join(srv.device, &seat, &m->comm, e) != 0) {
        free(m);
        return -1;
    }
    m->next = srv.members;
    srv.members = m;
    return m->rank == 0 ? send_ticket(e) : 0;
}

static void on_leave(const struct frame_leave *f)
{
    struct member *m = find_member(f->comm);

    if (!m || m == srv.working)
        return;
    srv.members = m->next; /* find_member put it first */
    srv.backend->leave(m->comm, f->broken);
    free(m);
}

static int on_run(const struct frame_run *f, struct err *e)
{
    struct member *m = find_member(f->comm);
    struct err why;

    failpoint("worker.before_run");
    if (srv.working)
        return report_failed(f->job, f->attempt, "worker_failed", "the rank is busy", e);
    if (!m)
        return report_failed(f->job, f->attempt, "worker_failed", "RUN came before JOIN", e);
    if (task_prepare(f, m->n, m->rank, &srv.task, &why) != 0)
        return report_failed(f->job, f->attempt, err_name(why.code), why.detail, e);
    if (!reduces(&srv.task))
        return report_failed(f->job, f->attempt, "worker_failed",
                             "the backend does not reduce this dtype", e);
    if (srv.backend->submit(m->comm, &srv.task, &why) != 0)
        return report_failed(f->job, f->attempt, err_name(why.code), why.detail, e);
    srv.working = m;
    srv.job = f->job;
    srv.attempt = f->attempt;
    atomic_store_explicit(&srv.progress, 0, memory_order_relaxed);
    link_working_on(f->job, f->attempt);
    return 0;
}

static int on_cancel(const struct frame_cancel *f, struct err *e)
{
    if (!srv.working || srv.job != f->job || srv.attempt != f->attempt)
        return 0; /* DONE is on its way */
    srv.backend->abort(srv.working->comm);
    at_rest();
    return report_failed(f->job, f->attempt, "cancelled", "cancelled by the server", e);
}

static int on_frame(const struct frame *f, struct err *e)
{
    switch (f->type) {
    case FRAME_join:
        return on_join(&f->join, e);
    case FRAME_leave:
        on_leave(&f->leave);
        return 0;
    case FRAME_run:
        return on_run(&f->run, e);
    case FRAME_cancel:
        return on_cancel(&f->cancel, e);
    case FRAME_stop:
        serve_stopping = 1;
        return 0;
    default:
        return err_set(e, ERR_link, "a server does not send %s", frame_type_name(f->type));
    }
}

/* Everything that has come; blocks for the first frame only when idle. */
static int read_frames(struct err *e)
{
    bool wait = !srv.working;
    int rc;

    if (!wait && !link_pending())
        return 0;
    while ((rc = link_read(wait, &srv.in, e)) == 1) {
        if (on_frame(&srv.in, e) != 0)
            return -1;
        if (srv.working || serve_stopping) /* work first; the rest is read between quanta */
            return 0;
        wait = false;
    }
    return rc;
}

static int work(struct err *e)
{
    struct done d;
    int rc;

    failpoint("worker.mid_run");
    rc = srv.backend->poll(srv.working->comm, &d, e);

    atomic_store_explicit(&srv.progress, srv.backend->progress(srv.working->comm),
                          memory_order_relaxed);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return 0;
    at_rest();
    if (d.rc == 0)
        return report_done(&d, e);
    if (report_failed(srv.job, srv.attempt, err_name(d.err.code), d.err.detail, e) != 0)
        return -1;
    return d.fatal ? err_set(e, ERR_link, "%s", d.err.detail) : 0;
}

static void leave_all(bool peers_lost)
{
    while (srv.members) {
        struct member *m = srv.members;

        srv.members = m->next;
        srv.backend->leave(m->comm, peers_lost);
        free(m);
    }
}

int serve(const struct backend *backend, struct device *device, uint64_t epoch, struct err *e)
{
    int rc = 0;

    srv.backend = backend;
    srv.device = device;
    srv.epoch = epoch;
    rc = send_ticket(e);
    while (rc == 0) {
        if (serve_stopping && !srv.working)
            break;
        if (srv.working)
            rc = work(e);
        if (rc == 0 && !(serve_stopping && !srv.working))
            rc = read_frames(e);
    }
    leave_all(rc != 0); /* the server has gone: peers go as they like */
    return rc;
}
