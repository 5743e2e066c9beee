/* serve.c - the frame loop: gather a batch, submit, poll, report. */
#include "worker/serve.h"
#include "schema/clock.h"
#include "schema/failpoint.h"
#include "schema/log.h"
#include "worker/across.h"
#include "worker/arena_map.h"
#include "worker/arena_own.h"
#include "worker/carrier.h"
#include "worker/link.h"
#include "worker/mask.h"
#include "worker/task.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

volatile sig_atomic_t serve_stopping;

/* A group that this rank belongs to, on one stream, and the batch that it is at. */
struct member {
    struct member *next;
    uint64_t id;
    uint32_t n, rank;
    const struct backend *backend; /* what carries it */
    struct device *device;
    struct comm *comm;
    struct task *tasks[LIMIT_BATCH_JOBS];
    uint32_t n_tasks, ended;     /* tasks[ended .. n_tasks) are still to be reported */
    struct masking *masking;     /* its one task, when that is masked; NULL: the backend's */
    uint32_t *hosts;             /* n; of each rank, as JOIN says */
    bool spans;                  /* more than one */
    bool working;                /* the batch is whole and submitted */
    struct member *next_working; /* in turn */
};

static struct {
    const struct backend *backend;
    struct device *device;
    uint64_t epoch;
    struct member *members; /* the last used first */
    struct member *working; /* NULL: idle */
    struct frame in, out;
    atomic_uint_least64_t progress; /* of the batch at hand */
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

/* soon: the next of its batch is about to end, too. */
static int report_done(const struct task *t, const struct done *d, bool soon, struct err *e)
{
    int rc;

    failpoint_of("worker.before_done", t->op->name);
    srv.out.type = FRAME_done;
    srv.out.done = (struct frame_done){.epoch = srv.epoch,
                                       .job = t->job,
                                       .attempt = t->attempt,
                                       .start_ns = d->start_ns,
                                       .end_ns = d->end_ns};
    rc = soon ? link_send_soon(&srv.out, e) : link_send(&srv.out, e);
    failpoint_of("worker.after_done", t->op->name);
    return rc;
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

/* ---- a batch ---- */

static void batch_begins(struct member *m)
{
    struct member **at = &srv.working;

    while (*at)
        at = &(*at)->next_working;
    *at = m;
    m->next_working = NULL;
    m->working = true;
    atomic_store_explicit(&srv.progress, 0, memory_order_relaxed);
    link_working_on(m->tasks[0]->job, m->tasks[0]->attempt);
}

/* Whatever of it was not reported is by now nobody's. */
static void batch_ends(struct member *m)
{
    struct member **at = &srv.working;

    while (*at && *at != m)
        at = &(*at)->next_working;
    if (*at)
        *at = m->next_working;
    for (uint32_t i = 0; i < m->n_tasks; i++)
        free(m->tasks[i]);
    m->n_tasks = m->ended = 0;
    mask_end(m->masking);
    m->masking = NULL;
    m->working = false;
    if (!srv.working)
        link_working_on(0, 0);
}

/* All of it that has not ended fails for this reason; `of` for that one's own. */
static int batch_fails(struct member *m, const char *code, const char *detail,
                       const struct task *of, const char *own_code, struct err *e)
{
    int rc = 0;

    for (; m->ended < m->n_tasks && rc == 0; m->ended++) {
        const struct task *t = m->tasks[m->ended];

        rc = report_failed(t->job, t->attempt, t == of ? own_code : code, detail, e);
    }
    batch_ends(m);
    return rc;
}

static int batch_submit(struct member *m, struct err *e)
{
    struct err why;

    if (m->n_tasks == 0)
        return 0; /* every one of it was refused */
    if (m->tasks[0]->mask != MASK_NONE && !m->spans) {
        m->masking = mask_begin(m->tasks[0]);
        if (!m->masking)
            return batch_fails(m, "no_memory", "the blocks of a mask", NULL, NULL, e);
    } else if (m->backend->submit(m->comm, m->tasks, m->n_tasks, &why) != 0) {
        return batch_fails(m, err_name(why.code), why.detail, NULL, NULL, e);
    }
    batch_begins(m);
    return 0;
}

/* ---- frames ---- */

/* Numbers in order of first appearance. Returns how many, or 0 when they are not. */
static uint32_t count_hosts(const struct frame_join *f)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < f->n_hosts; i++) {
        if (f->hosts[i] > n)
            return 0;
        n += f->hosts[i] == n;
    }
    return f->n_hosts == f->n ? n : 0;
}

static struct member *new_member(const struct frame_join *f)
{
    struct member *m = calloc(1, sizeof *m + f->n * sizeof m->hosts[0]);

    if (!m)
        return NULL;
    m->id = f->comm;
    m->n = f->n;
    m->rank = f->rank;
    m->spans = count_hosts(f) > 1;
    m->backend = srv.backend;
    m->device = srv.device;
    m->hosts = (uint32_t *)(m + 1);
    memcpy(m->hosts, f->hosts, f->n * sizeof m->hosts[0]);
    return m;
}

static int on_join(const struct frame_join *f, struct err *e)
{
    struct member *m;
    struct seat seat = {.id = f->comm,
                        .n = f->n,
                        .rank = f->rank,
                        .stream = f->stream,
                        .ranks = f->ranks,
                        .hosts = f->hosts,
                        .n_hosts = count_hosts(f),
                        .ticket = f->ticket};

    if (f->n == 0 || f->n > LIMIT_RANKS || f->rank >= f->n || f->n_ranks != f->n ||
        f->stream > LIMIT_STREAM || seat.n_hosts == 0)
        return err_set(e, ERR_link, "JOIN names rank %u of %u on stream %u", f->rank, f->n,
                       f->stream);
    if (find_member(f->comm))
        return err_set(e, ERR_link, "JOIN names a group twice");
    m = new_member(f);
    if (!m)
        return err_set(e, ERR_no_memory, "group of %u ranks", f->n);
    if (across_choose(f->backend, &m->backend, &m->device, e) != 0 ||
        m->backend->join(m->device, &seat, &m->comm, e) != 0) {
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

    if (!m || m->working)
        return;
    srv.members = m->next; /* find_member put it first */
    batch_ends(m);
    m->backend->leave(m->comm, f->broken);
    free(m);
}

/* What another rank of a communicator says to all. Of one that this rank has left, it is late. */
static void on_store_put(const struct frame_store_put *f)
{
    struct member *m = find_member(f->comm);

    if (m && m->backend->heard)
        m->backend->heard(m->comm, f->key, f->value, f->n_value);
}

static bool takes(const struct member *m, const struct frame_run *f, const struct task *t)
{
    if ((f->n_held || f->n_keep) && !m->backend->fetch)
        return false;
    if (t->mask != MASK_NONE)
        return !m->spans || m->backend->masks;
    return t->op->reduce == REDUCE_NONE || m->backend->reduces(t->op->reduce, t->dtype);
}

/* Into the batch of its group; or FAILED, and why. */
static int gather(struct member *m, const struct frame_run *f, struct err *e)
{
    struct task *t;
    struct err why;

    if (m->working || m->n_tasks == LIMIT_BATCH_JOBS)
        return report_failed(f->job, f->attempt, "worker_failed", "the rank is busy", e);
    t = task_new(f, m->n, m->rank, m->hosts, &why);
    if (!t)
        return report_failed(f->job, f->attempt, err_name(why.code), why.detail, e);
    if (t->mask != MASK_NONE && (f->more || m->n_tasks > 0)) {
        free(t);
        return report_failed(f->job, f->attempt, "worker_failed", "a masked task is alone", e);
    }
    if (!takes(m, f, t)) {
        free(t);
        return report_failed(f->job, f->attempt, "worker_failed",
                             "the backend has no such dtype, no resident tensors, or no masks", e);
    }
    m->tasks[m->n_tasks++] = t;
    return 0;
}

static int on_run(const struct frame_run *f, struct err *e)
{
    struct member *m = find_member(f->comm);

    log_debug("run job=%s attempt=%u", f->id, f->attempt);
    failpoint_of("worker.before_run", f->op < OP_COUNT ? ops[f->op].name : NULL);
    if (!m)
        return report_failed(f->job, f->attempt, "worker_failed", "RUN came before JOIN", e);
    if (gather(m, f, e) != 0)
        return -1;
    return f->more || m->working ? 0 : batch_submit(m, e);
}

static int on_fetch(const struct frame_fetch *f, struct err *e)
{
    uint8_t *to = arena_map_at(f->offset, f->bytes);
    struct err why;
    int rc = -1;

    if (!srv.backend->fetch || !to)
        err_set(&why, ERR_worker_failed, "FETCH names no place, or no resident tensor");
    else
        rc = srv.backend->fetch(srv.device, f->tensor, to, f->bytes, &why);
    srv.out.type = FRAME_fetched;
    srv.out.fetched = (struct frame_fetched){.epoch = srv.epoch, .tensor = f->tensor};
    if (rc != 0) {
        snprintf(srv.out.fetched.code, sizeof srv.out.fetched.code, "%s", err_name(why.code));
        snprintf(srv.out.fetched.detail, sizeof srv.out.fetched.detail, "%.511s", why.detail);
    }
    if (link_send(&srv.out, e) != 0)
        return -1;
    if (rc != 0 && why.code == ERR_link)
        return err_set(e, ERR_link, "%s", why.detail);
    return 0;
}

static int on_look(const struct frame_look *f, struct err *e)
{
    srv.out.type = FRAME_seen;
    srv.out.seen = (struct frame_seen){
        .epoch = srv.epoch, .of = f->of, .held = arena_own_held(f->of)};
    return link_send(&srv.out, e);
}

/* What runs together is dropped together: the server runs the others again. */
static int on_cancel(const struct frame_cancel *f, struct err *e)
{
    for (struct member *m = srv.working; m; m = m->next_working) {
        for (uint32_t i = m->ended; i < m->n_tasks; i++) {
            const struct task *t = m->tasks[i];

            if (t->job != f->job || t->attempt != f->attempt)
                continue;
            if (!m->masking)
                m->backend->abort(m->comm);
            return batch_fails(m, "aborted", "stopped by the server", t, "cancelled", e);
        }
    }
    return 0; /* DONE is on its way */
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
    case FRAME_fetch:
        return on_fetch(&f->fetch, e);
    case FRAME_region:
        return arena_map_region(f->region.offset, f->region.bytes, link_take_fd(),
                                f->region.written, e);
    case FRAME_region_gone:
        arena_map_drop(f->region_gone.offset, f->region_gone.bytes);
        return 0;
    case FRAME_drop:
        if (srv.backend->drop)
            srv.backend->drop(srv.device, f->drop.tensor);
        return 0;
    case FRAME_store_put:
        on_store_put(&f->store_put);
        return 0;
    case FRAME_carry:
        carrier_carry();
        return 0;
    case FRAME_look:
        return on_look(&f->look, e);
    case FRAME_stop:
        serve_stopping = 1;
        return 0;
    case FRAME_heartbeat:
        return 0; /* that bytes came is what counts, and the kernel knows it */
    case FRAME_refuse:
        return err_set(e, err_find(f->refuse.code) == ERR_arena ? ERR_arena : ERR_refused,
                       "the server says: %s", f->refuse.detail);
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

/* ---- work ---- */

static int task_ended(struct member *m, const struct done *d, struct err *e)
{
    const struct task *t = m->tasks[m->ended];

    if (d->rc != 0) {
        if (batch_fails(m, err_name(d->err.code), d->err.detail, NULL, NULL, e) != 0)
            return -1;
        return d->fatal ? err_set(e, ERR_link, "%s", d->err.detail) : 0;
    }
    if (report_done(t, d, m->ended + 1 < m->n_tasks, e) != 0)
        return -1;
    if (++m->ended == m->n_tasks)
        batch_ends(m);
    return 0;
}

static int work_on(struct member *m, struct err *e)
{
    struct done d;
    int rc;

    failpoint_of("worker.mid_run", m->tasks[m->ended]->op->name);
    rc = m->masking ? mask_poll(m->masking, &d) : m->backend->poll(m->comm, &d, e);
    atomic_store_explicit(&srv.progress,
                          m->masking ? mask_progress(m->masking) : m->backend->progress(m->comm),
                          memory_order_relaxed);
    if (rc == 1)
        return task_ended(m, &d, e);
    return rc == 0 ? link_flush(e) : rc; /* the next takes its time */
}

/* A turn for each that has work. */
static int work(struct err *e)
{
    for (struct member *m = srv.working, *next; m; m = next) {
        next = m->next_working;
        if (work_on(m, e) != 0)
            return -1;
    }
    return 0;
}

static void leave_all(bool peers_lost)
{
    while (srv.members) {
        struct member *m = srv.members;

        srv.members = m->next;
        m->backend->leave(m->comm, peers_lost);
        batch_ends(m); /* only now is nothing of it used any more */
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
