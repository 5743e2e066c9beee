/* comm.c - the gloo backend's table: a thread a communicator does what blocks, the main thread
 * looks.
 *
 * What fails is stopped before it is reported: no byte of the arena is written any more, and the
 * peers find their connections closed.
 */
#include "worker/gloo/comm.h"
#include "schema/clock.h"
#include "schema/log.h"
#include "worker/gloo/flow.h"
#include "worker/gloo/masked.h"
#include "worker/reduce.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define POLL_US 1000 /* of a look that finds nothing */
/* A lost connection is most often a rank's end, which the server hears of by itself, and knows
 * better: it is not reported before the server had the time to. */
#define LOST_GRACE_MS 2000

static bool gloo_reduces(enum reduction r, enum dtype d)
{
    return reduce_find(d, r) != NULL;
}

/* ---- the device ---- */

/* A socket a rank of every group. */
static void raise_descriptors(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int gloo_open(struct device **out, const struct place *at, struct err *e)
{
    struct device *d = calloc(1, sizeof *d);
    const char *wish = getenv("TUTTI_GLOO_SILENT_MS"); /* for tests */

    if (!d)
        return err_set(e, ERR_no_memory, "device");
    d->at = *at;
    d->silent_ms = wish && atoi(wish) > 0 ? (uint32_t)atoi(wish) : LIMIT_PEER_SILENT_MS;
    reduce_init();
    raise_descriptors();
    if (wire_device_open(&d->wire, *at->address ? at->address : "127.0.0.1", e) != 0) {
        free(d);
        return -1;
    }
    *out = d;
    return 0;
}

static void gloo_close(struct device *d)
{
    wire_device_close(d->wire);
    free(d);
}

/* ---- the thread ---- */

void comm_wait(struct comm *c, pthread_cond_t *on, uint64_t us)
{
    struct timespec until;
    uint64_t ns = clock_ns() + us * 1000;

    until.tv_sec = (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    pthread_cond_timedwait(on, &c->lock, &until);
}

static void ends(struct comm *c, int rc, const struct err *why)
{
    pthread_mutex_lock(&c->lock);
    c->rc = rc;
    c->end_ns = clock_ns();
    c->broken |= rc != 0;
    if (rc != 0)
        c->err = *why;
    c->over = true;
    pthread_mutex_unlock(&c->lock);
    pthread_cond_signal(&c->ended); /* after it, so that nobody wakes to wait for the lock */
}

/* false: there will be none. */
static bool next_batch(struct comm *c)
{
    bool more;

    pthread_mutex_lock(&c->lock);
    while (!atomic_load(&c->stop) && !(c->submitted && !c->over))
        pthread_cond_wait(&c->news, &c->lock);
    more = !atomic_load(&c->stop);
    pthread_mutex_unlock(&c->lock);
    return more;
}

static int run_batch(struct comm *c, struct flow *f, struct err *e)
{
    if (c->tasks[0]->mask != MASK_NONE) /* which has its batch to itself */
        return masked_run(f, c->apart, c->tasks[0], e);
    return flow_run(f, c->map, c->tasks, c->n_tasks, e);
}

/* Connects at once, so that the first batch finds it done; what went wrong is the batch's to say.
 */
static void *work(void *arg)
{
    struct comm *c = arg;
    struct flow f = {.wire = c->wire,
                     .silent_ms = c->device->silent_ms,
                     .stop = &c->stop,
                     .done = &c->done_bytes};
    struct err e = {0};
    int rc = comm_connect(c, &e);

    if (rc != 0)
        wire_stop(c->wire);
    while (next_batch(c)) {
        if (rc == 0)
            rc = run_batch(c, &f, &e);
        ends(c, rc, &e);
    }
    return NULL;
}

/* ---- a communicator ---- */

static void destroy(struct comm *c)
{
    wire_free(c->wire);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->news);
    pthread_cond_destroy(&c->ended);
    map_free(c->map);
    map_free(c->apart);
    free(c->peers);
    free(c);
}

static struct comm *make(struct device *d, const struct seat *seat)
{
    struct comm *c = calloc(1, sizeof *c);
    pthread_condattr_t monotonic;

    if (!c)
        return NULL;
    c->device = d;
    c->id = seat->id;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->news, &monotonic);
    pthread_cond_init(&c->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    c->map = map_new(seat->n, seat->rank, seat->n_hosts > 1 ? seat->hosts : NULL);
    c->apart = map_new(seat->n, seat->rank, NULL);
    c->peers = calloc(seat->n, sizeof *c->peers);
    if (c->map && c->apart && c->peers)
        return c;
    destroy(c);
    return NULL;
}

static int gloo_join(struct device *d, const struct seat *seat, struct comm **out, struct err *e)
{
    struct comm *c = make(d, seat);
    int failed;

    if (!c)
        return err_set(e, ERR_no_memory, "communicator of %u ranks", seat->n);
    if (comm_listen(c, e) != 0) {
        destroy(c);
        return -1;
    }
    failed = pthread_create(&c->thread, NULL, work, c);
    if (failed) {
        destroy(c);
        return err_sys(e, ERR_worker_failed, failed, "start the thread of a communicator");
    }
    c->started = true;
    log_debug("gloo: comm=%llu ranks=%u hosts=%u", (unsigned long long)c->id, c->map->n,
              c->map->n_hosts);
    *out = c;
    return 0;
}

/* After it the thread is no more, nothing is written, and the peers know. */
static void stop(struct comm *c)
{
    if (!c->started)
        return;
    pthread_mutex_lock(&c->lock);
    atomic_store(&c->stop, true);
    pthread_cond_broadcast(&c->news);
    pthread_mutex_unlock(&c->lock);
    wire_stop(c->wire);
    pthread_join(c->thread, NULL);
    c->started = false;
}

static void gloo_abort(struct comm *c)
{
    stop(c);
    c->broken = true; /* the thread is gone: nobody else reads or writes it */
    c->submitted = c->over = false;
}

static void gloo_leave(struct comm *c, bool peers_lost)
{
    (void)peers_lost;
    stop(c);
    destroy(c);
}

/* ---- a batch ---- */

static int gloo_submit(struct comm *c, struct task *const *tasks, uint32_t n, struct err *e)
{
    int rc = 0;

    pthread_mutex_lock(&c->lock);
    if (c->broken) {
        rc = err_set(e, ERR_worker_failed, "the communicator was given up");
    } else if (c->submitted) {
        rc = err_set(e, ERR_worker_failed, "a batch is running on this communicator");
    } else {
        c->tasks = tasks;
        c->n_tasks = n;
        c->reported = 0;
        c->over = false;
        c->submitted = true;
        c->start_ns = clock_ns();
        atomic_store(&c->done_bytes, 0);
    }
    pthread_mutex_unlock(&c->lock);
    if (rc == 0)
        pthread_cond_broadcast(&c->news);
    return rc;
}

static bool is_due(const struct comm *c)
{
    return c->over && (c->rc == 0 || clock_ns() > c->end_ns + LOST_GRACE_MS * 1000000ull);
}

static int report(struct comm *c, struct done *out)
{
    *out = (struct done){.job = c->tasks[c->reported++]->job,
                         .rc = c->rc,
                         .start_ns = c->start_ns,
                         .end_ns = c->end_ns};
    if (c->rc != 0)
        out->err = c->err;
    if (c->rc != 0 || c->reported == c->n_tasks)
        c->submitted = c->over = false;
    return 1;
}

static int gloo_poll(struct comm *c, struct done *out, struct err *e)
{
    int rc = 0;

    pthread_mutex_lock(&c->lock);
    if (!c->submitted) {
        rc = err_set(e, ERR_worker_failed, "nothing was submitted");
    } else {
        if (!is_due(c))
            comm_wait(c, &c->ended, POLL_US);
        if (is_due(c))
            rc = report(c, out);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static uint64_t gloo_progress(const struct comm *c)
{
    return atomic_load_explicit(&c->done_bytes, memory_order_relaxed);
}

const struct backend backend_gloo = {
    .name = "gloo",
    .masks = true,
    .reduces = gloo_reduces,
    .open = gloo_open,
    .join = gloo_join,
    .heard = comm_heard,
    .submit = gloo_submit,
    .poll = gloo_poll,
    .progress = gloo_progress,
    .abort = gloo_abort,
    .leave = gloo_leave,
    .close = gloo_close,
};
