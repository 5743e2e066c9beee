/* shm.c - the shared-memory backend: jobs worked off in place in the arena, a quantum at a time.
 *
 * Ranks never meet here. RUN names every rank's input and output; inputs are whole and immutable
 * before RUN is sent, and an output is shown to nobody before the server has every rank's DONE. So
 * a rank reads all inputs where the uploads landed, writes only its own share, and needs no
 * barrier, flag or futex: the server's count of DONEs is the one meeting point, and no rank can
 * hang because another one died.
 */
#include "worker/shm/shm.h"
#include "schema/clock.h"

#include <stdlib.h>

#define QUANTUM_BYTES (256u << 10) /* of output between two looks at the link */

struct device {
    struct place at;
};

struct comm {
    uint32_t n, rank;
    struct task *const *tasks; /* of the batch */
    uint32_t n_tasks, at;      /* the one at hand */
    struct work work;
    uint32_t piece;    /* at hand */
    uint64_t at_bytes; /* done of it */
    uint64_t start_ns;
    uint64_t done_bytes; /* of the batch, for heartbeats */
};

static shm_plan_fn *const plans[KIND_COUNT] = {
#define X(KIND, kind) [KIND_##KIND] = shm_##kind,
    KINDS(X)
#undef X
};

static bool shm_reduces(enum reduction r, enum dtype d)
{
    return reduce_find(d, r) != NULL;
}

static int shm_open_device(struct device **out, const struct place *at, struct err *e)
{
    struct device *d = calloc(1, sizeof *d);

    if (!d)
        return err_set(e, ERR_no_memory, "device");
    reduce_init();
    d->at = *at;
    *out = d;
    return 0;
}

static int shm_join(struct device *d, const struct seat *seat, struct comm **out, struct err *e)
{
    struct comm *c = calloc(1, sizeof *c);

    (void)d;
    if (!c)
        return err_set(e, ERR_no_memory, "communicator of %u ranks", seat->n);
    c->n = seat->n;
    c->rank = seat->rank;
    *out = c;
    return 0;
}

/* With one rank every collective is the identity, and its output a view: nothing is left to do, but
 * for bool, whose reductions write 0 and 1. */
static bool is_in_place(const struct task *t)
{
    return t->n == 1 && t->outputs[0] == t->inputs[0];
}

static void begin_task(struct comm *c)
{
    const struct task *t = c->tasks[c->at];

    c->work.task = *t;
    plans[t->op->kind](&c->work);
    if (is_in_place(t))
        c->work.pieces = 0;
    c->piece = 0;
    c->at_bytes = 0;
    c->start_ns = clock_ns();
}

static int shm_submit(struct comm *c, struct task *const *tasks, uint32_t n, struct err *e)
{
    if (c->at < c->n_tasks)
        return err_set(e, ERR_worker_failed, "a batch is running on this communicator");
    c->tasks = tasks;
    c->n_tasks = n;
    c->at = 0;
    c->done_bytes = 0;
    begin_task(c);
    return 0;
}

/* One quantum, which may span many small pieces. */
static void work_on(struct comm *c)
{
    struct work *w = &c->work;
    uint64_t budget = QUANTUM_BYTES;

    while (c->piece < w->pieces && budget > 0) {
        uint64_t left = w->piece_bytes - c->at_bytes, bytes = left < budget ? left : budget;

        if (bytes < left && bytes > w->grain)
            bytes -= bytes % w->grain;
        if (c->at_bytes == 0)
            w->begin(w, c->piece);
        w->run(w, c->at_bytes, c->at_bytes + bytes);
        c->at_bytes += bytes;
        budget -= bytes;
        if (c->at_bytes == w->piece_bytes) {
            c->piece++;
            c->at_bytes = 0;
        }
    }
    copy_fence();
    c->done_bytes += QUANTUM_BYTES - budget;
}

static int shm_poll(struct comm *c, struct done *out, struct err *e)
{
    if (c->at == c->n_tasks)
        return err_set(e, ERR_worker_failed, "nothing was submitted");
    work_on(c);
    if (c->piece < c->work.pieces)
        return 0;
    *out = (struct done){
        .job = c->work.task.job, .rc = 0, .start_ns = c->start_ns, .end_ns = clock_ns()};
    if (++c->at < c->n_tasks)
        begin_task(c);
    return 1;
}

static uint64_t shm_progress(const struct comm *c)
{
    return c->done_bytes;
}

static void shm_abort(struct comm *c)
{
    c->at = c->n_tasks = 0;
}

static void shm_leave(struct comm *c, bool peers_lost)
{
    (void)peers_lost;
    free(c);
}

static void shm_close(struct device *d)
{
    free(d);
}

const struct backend backend_shm = {
    .name = "shm",
    .memory_only = true,
    .reduces = shm_reduces,
    .open = shm_open_device,
    .join = shm_join,
    .submit = shm_submit,
    .poll = shm_poll,
    .progress = shm_progress,
    .abort = shm_abort,
    .leave = shm_leave,
    .close = shm_close,
};
