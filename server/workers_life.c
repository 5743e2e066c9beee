/* workers_life.c - a worker process from its start to its confirmed exit, and its next start.
 *
 * Fence before free: whoever is given up gets SIGKILL through its pidfd, and counts as lost only
 * when the kernel says that it is gone. Until then its job, and the extents it may write to, stay.
 * A worker that the kernel does not name to us (it is in another process namespace, as in another
 * container) is told to leave, ends itself when its link ends or, over TCP, is silent, and is gone
 * when its lock on the fence is. One of another host is gone when another worker there sees its
 * lock gone, or else when its time is up.
 */
#include "server/fence.h"
#include "server/resident.h"
#include "server/scheduler.h"
#include "server/workers_parts.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define STEADY_US 10000000 /* a worker that was ready for so long starts anew without a wait */
#define MS 1000ull
#define FENCE_STEP_US 20000 /* between looks at a lock */
#define LOOK_STEP_US 100000 /* the same, of another host */

static void schedule_start(struct worker *w);

/* ---- exit ---- */

void worker_gone(struct worker *w, const char *how)
{
    struct job_rank_link *part;

    worker_state(w, WORKER_absent);
    if (w->host)
        worker_moves_out(w);
    if (workers.stopping) {
        w->running = NULL; /* its jobs are the next start's */
        return;
    }
    log_warn("rank=%u its worker is gone: %s", w->info.rank, how);
    if (w->launched)
        schedule_start(w);
    else
        scheduler_away(w->info.rank, true);
    w->ready_us = 0;
    resident_rank_lost(w->info.rank);
    while ((part = w->running)) {
        uint64_t seq = part->job->seq;
        uint32_t attempt = part->job->record->attempts;

        part->job->comm->broken = true;
        worker_answered(w, part);
        job_rank_lost(seq, attempt, w->info.rank, how);
    }
    scheduler_next();
}

/* Readable pidfd. What it had still sent is heard first: a job that it finished is finished. */
static void has_exited(struct core_watch *watch, uint32_t events)
{
    struct worker *w = CORE_OWNER(watch, struct worker, exit);
    char how[HOW_BYTES], both[2 * HOW_BYTES + 8];

    (void)events;
    if (w->peer)
        peer_drain(w->peer);
    peer_close(w->peer);
    w->peer = NULL;
    worker_lose(w, "its exit");
    core_watch_remove(&w->exit);
    if (!launch_reaped(&w->process, how, sizeof how))
        snprintf(how, sizeof how, "an unknown end");
    w->process.pid = 0;
    snprintf(both, sizeof both, "%s (%s)", how, w->how);
    worker_gone(w, both);
}

int worker_watch_exit(struct worker *w, struct err *e)
{
    w->exit = (struct core_watch){.ready = has_exited, .fd = w->process.pidfd};
    return core_watch_add(&w->exit, EPOLLIN, e);
}

/* Its end may be long in coming: nobody who does not need it is to wait for that. */
static void free_the_others(struct worker *w)
{
    scheduler_away(w->info.rank, true);
    for (struct job_rank_link *part = w->running, *next; part; part = next) {
        next = part->next_run;
        job_rank_away(part->job);
    }
    scheduler_next();
}

static void look_at_fence(struct core_timer *t)
{
    struct worker *w = CORE_OWNER(t, struct worker, fence);
    pid_t pid;

    if (w->host ? !worker_has_ended(w) : fence_held(w->info.epoch, &pid)) {
        free_the_others(w);
        core_timer_set(t, clock_us() + (w->host ? LOOK_STEP_US : FENCE_STEP_US));
        return;
    }
    w->process.pid = 0;
    worker_gone(w, w->how);
}

/* We cannot kill it, or it is on the other side of a network: it may be alive, and not hear this.
 */
static void send_away(struct worker *w, const char *how)
{
    char why[HOW_BYTES + 40];

    log_warn("rank=%u is given up: %s; what it may write to is kept until it has ended",
             w->info.rank, how);
    snprintf(why, sizeof why, "the server has given it up: %s", how);
    peer_send_frame(w->peer, worker_refusal(ERR_refused, why));
}

void worker_lose(struct worker *w, const char *how)
{
    if (w->info.state == WORKER_absent || w->info.state == WORKER_stopping)
        return;
    snprintf(w->how, sizeof w->how, "%s", how);
    worker_count_loss(w);
    core_timer_clear(&w->beat);
    core_timer_clear(&w->kill);
    core_timer_clear(&w->say);
    if (w->host)
        worker_suspected(w, w->peer == NULL);
    if ((w->info.tcp || w->process.pidfd < 0) && w->peer)
        send_away(w, how);
    peer_close(w->peer);
    w->peer = NULL;
    launch_kill(&w->process, SIGKILL);
    worker_state(w, WORKER_stopping);
    if (w->process.pidfd < 0) {
        w->fence.fire = look_at_fence;
        core_timer_set(&w->fence, clock_us());
    }
}

/* ---- silence ---- */

/* How long it may be silent. A network breaks without a word, a socket of this machine does not. */
static uint64_t patience_us(const struct worker *w)
{
    return (w->info.tcp ? LIMIT_TCP_BEATS_MISSED : LIMIT_HEARTBEATS_MISSED) * LIMIT_HEARTBEAT_MS *
           MS;
}

/* Judged only after what the socket holds was heard (the server may have been stopped for a while),
 * and not at once when this timer itself is late (then the whole machine may have been). */
static void check_beat(struct core_timer *t)
{
    struct worker *w = CORE_OWNER(t, struct worker, beat);
    uint64_t patience = patience_us(w), now = clock_us();
    bool paused = now - t->at_us > LIMIT_HEARTBEAT_MS * MS;

    if (w->peer)
        peer_drain(w->peer);
    if (!w->peer)
        return; /* its end was in the socket */
    now = clock_us();
    if (now - w->heard_us < patience)
        core_timer_set(&w->beat, w->heard_us + patience);
    else if (paused)
        core_timer_set(&w->beat, now + patience);
    else
        worker_lose(w, "no heartbeat");
}

void worker_joined(struct worker *w, struct peer *p)
{
    w->peer = p;
    w->ready_us = clock_us();
    worker_heard(w);
    w->beat.fire = check_beat;
    core_timer_set(&w->beat, w->ready_us + patience_us(w));
    log_info("rank=%u joined pid=%d device=%s link=%s epoch=%llu", w->info.rank,
             (int)w->process.pid, w->info.device, w->info.tcp ? "tcp" : "unix",
             (unsigned long long)w->info.epoch);
    scheduler_away(w->info.rank, false);
    worker_maps_all(w);
    worker_state(w, WORKER_ready);
    if (w->host)
        worker_settled(w);
    scheduler_next();
}

/* ---- start ---- */

static void start_took_too_long(struct core_timer *t)
{
    struct worker *w = CORE_OWNER(t, struct worker, beat);

    worker_lose(w, w->peer ? "it was not ready in time" : "no HELLO after its start");
}

void worker_expected(struct worker *w, struct peer *p)
{
    w->peer = p;
    worker_heard(w);
    w->beat.fire = start_took_too_long;
    core_timer_set(&w->beat, clock_us() + LIMIT_START_MS * MS);
    worker_state(w, WORKER_starting);
}

/* Where other hosts reach this one, as far as it was said; else NULL. */
static const char *known_address(const struct workers_options *o)
{
    static const char *const any[] = {"", "0.0.0.0", "::"};

    for (size_t i = 0; i < sizeof any / sizeof any[0]; i++) {
        if (!o->tcp_host || strcmp(o->tcp_host, any[i]) == 0)
            return NULL;
    }
    return getenv("TUTTI_GLOO_INTERFACE") ? NULL : o->tcp_host;
}

static int launch(struct worker *w, struct err *e)
{
    const struct workers_options *o = &workers.options;
    const char *address = known_address(o);
    char rank[12], device[16] = "cpu";
    const char *argv[] = {
        o->worker_path, "--server",
        o->listen,      "--rank",
        rank,           "--backend",
        o->backend,     "--log-level",
        o->log_level,   "--log-format",
        o->log_format,  "--device",
        device,         address ? "--gloo-interface" : NULL,
        address,        NULL,
    };

    snprintf(rank, sizeof rank, "%u", w->info.rank);
    if (o->gpus)
        snprintf(device, sizeof device, "gpu:%u", w->info.rank);
    if (launch_start(&w->process, argv, e) != 0)
        return -1;
    if (worker_watch_exit(w, e) == 0)
        return 0;
    launch_kill(&w->process, SIGKILL); /* its exit would not be seen: it must not run */
    while (!launch_reaped(&w->process, rank, sizeof rank))
        usleep(1000);
    return -1;
}

void worker_start(struct worker *w)
{
    struct err e;

    if (launch(w, &e) != 0) {
        log_error("rank=%u its worker does not start: %s", w->info.rank, e.detail);
        w->process = (struct launched){.pidfd = -1};
        schedule_start(w);
        return;
    }
    w->beat.fire = start_took_too_long;
    core_timer_set(&w->beat, clock_us() + LIMIT_START_MS * MS);
    worker_state(w, WORKER_starting);
}

static void start_now(struct core_timer *t)
{
    struct worker *w = CORE_OWNER(t, struct worker, retry);

    worker_count_restart(w);
    worker_start(w);
}

/* The back-off doubles for one that dies at once, so that it does not eat the machine. */
static void schedule_start(struct worker *w)
{
    uint64_t now = clock_us();
    bool steady = w->ready_us && now - w->ready_us >= STEADY_US;

    w->backoff_us = w->backoff_us && !steady ? 2 * w->backoff_us : LIMIT_RESTART_MIN_MS * MS;
    if (w->backoff_us > LIMIT_RESTART_MAX_MS * MS)
        w->backoff_us = LIMIT_RESTART_MAX_MS * MS;
    w->retry.fire = start_now;
    core_timer_set(&w->retry, now + w->backoff_us);
}

void worker_stop_start(struct worker *w)
{
    core_timer_clear(&w->retry);
}
