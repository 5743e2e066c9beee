/* workers.c - the table of ranks: who holds which, what others may know of it, start and stop. */
#include "server/events.h"
#include "server/workers.h"
#include "server/fence.h"
#include "server/scheduler.h"
#include "server/stage.h"
#include "server/workers_parts.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIRM_US 2000000 /* from SIGKILL to the exit, at the end */

struct workers workers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of every info; see workers_list */

/* ---- what others may know ---- */

static bool holds(enum worker_state s)
{
    return s == WORKER_ready || s == WORKER_busy;
}

void worker_state(struct worker *w, enum worker_state s)
{
    enum worker_state from = w->info.state;

    assert(core_here() && worker_state_may(from, s));
    log_debug("rank=%u from=%s to=%s", w->info.rank, worker_state_name(from), worker_state_name(s));
    pthread_mutex_lock(&lock);
    w->info.state = s;
    w->info.since_us = clock_wall_us();
    w->info.pid = (uint32_t)w->process.pid;
    if (w->host)
        host_figures(w->host, &w->info.arena);
    pthread_mutex_unlock(&lock);
    if (!(holds(from) && holds(s))) /* not for every job */
        events_worker(&w->info);
    if (holds(from) && !holds(s))
        atomic_fetch_sub(&workers.ready, 1);
    else if (!holds(from) && holds(s))
        atomic_fetch_add(&workers.ready, 1);
    for (uint32_t lane = 0; lane < scheduler_lanes() && holds(from) != holds(s); lane++)
        worker_offer(w, lane);
}

void worker_heard(struct worker *w)
{
    __atomic_store_n(&w->heard_us, clock_us(), __ATOMIC_RELAXED);
}

void worker_count_job(struct worker *w, bool done, uint64_t busy_us, uint64_t moved_bytes)
{
    pthread_mutex_lock(&lock);
    w->info.jobs_done += done;
    w->info.jobs_failed += !done;
    w->info.busy_us += busy_us;
    w->info.moved_bytes += moved_bytes;
    pthread_mutex_unlock(&lock);
}

void worker_count_loss(struct worker *w)
{
    pthread_mutex_lock(&lock);
    w->info.losses++;
    pthread_mutex_unlock(&lock);
}

void worker_count_restart(struct worker *w)
{
    pthread_mutex_lock(&lock);
    w->info.restarts++;
    pthread_mutex_unlock(&lock);
}

void worker_count_resident(struct worker *w, int64_t change)
{
    pthread_mutex_lock(&lock);
    w->info.resident_bytes = change == INT64_MIN ? 0 : w->info.resident_bytes + (uint64_t)change;
    pthread_mutex_unlock(&lock);
}

/* A worker's words go into documents: printable ASCII only. */
static void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%.*s", (int)size - 1, from);
    for (char *c = to; *c; c++) {
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    }
}

static void introduce_gpu(struct worker_gpu *g, const struct frame_hello *h)
{
    g->memory_bytes = h->gpu_memory_bytes;
    g->simulated = h->simulated;
    copy_text(g->name, sizeof g->name, h->gpu_name);
    copy_text(g->uuid, sizeof g->uuid, h->gpu_uuid);
    copy_text(g->pci_id, sizeof g->pci_id, h->gpu_pci_id);
    copy_text(g->driver_version, sizeof g->driver_version, h->driver_version);
    copy_text(g->runtime_version, sizeof g->runtime_version, h->runtime_version);
    copy_text(g->nccl_version, sizeof g->nccl_version, h->nccl_version);
    copy_text(g->runtime_path, sizeof g->runtime_path, h->runtime_path);
    copy_text(g->nccl_path, sizeof g->nccl_path, h->nccl_path);
}

void worker_introduced(struct worker *w, uint64_t epoch, bool tcp, const struct frame_hello *hello)
{
    pthread_mutex_lock(&lock);
    w->info.epoch = epoch;
    w->info.tcp = tcp;
    w->info.says_reduces = hello->n_reduces == REDUCTION_COUNT;
    for (uint32_t r = 0; r < hello->n_reduces && r < REDUCTION_COUNT; r++)
        w->info.reduces[r] = hello->reduces[r];
    w->info.by_ticket = hello->meets & MEETS_by_ticket;
    w->info.across = hello->meets & MEETS_across;
    copy_text(w->info.backend, sizeof w->info.backend, hello->backend);
    copy_text(w->info.device, sizeof w->info.device, hello->device);
    copy_text(w->info.host, sizeof w->info.host, hello->host);
    copy_text(w->info.version, sizeof w->info.version, hello->version);
    introduce_gpu(&w->info.gpu, hello);
    pthread_mutex_unlock(&lock);
    w->ticket[0] = '\0';
}

void worker_move(struct worker *w, struct host *h)
{
    pthread_mutex_lock(&lock);
    w->host = h;
    w->info.remote = h != NULL;
    w->info.arena = (struct host_figures){.used_bytes = 0};
    pthread_mutex_unlock(&lock);
    workers.remote += h ? 1 : -1u;
}

bool workers_any_remote(void)
{
    return workers.remote > 0;
}

struct host *worker_host(uint32_t world_rank)
{
    return workers.rank[world_rank].host;
}

int workers_check(const struct job_record *r, struct err *e)
{
    const struct worker_info *first = &workers.rank[r->ranks[0]].info;

    for (uint32_t i = 0; i < r->n; i++) {
        const struct worker_info *info = &workers.rank[r->ranks[i]].info;

        if (first->backend[0] && info->backend[0] && strcmp(first->backend, info->backend) != 0)
            return err_set(
                e, ERR_group_invalid,
                "rank %u runs on %s and rank %u on %s: a group's ranks need the same backend",
                first->rank, first->backend, info->rank, info->backend);
        if (r->op->reduce != REDUCE_NONE && info->says_reduces &&
            !(info->reduces[r->op->reduce] >> r->dtype & 1))
            return err_set(
                e, ERR_dtype_op,
                "the %s backend of rank %u makes no %s of %s: use another dtype (int32 or wider, "
                "for sums), or CPU ranks",
                info->backend, info->rank, reduction_plural[r->op->reduce], dtypes[r->dtype].name);
    }
    if (!workers_any_remote() || stage_skips(r))
        return 0;
    return workers_backend(r, &(const char *){NULL}, e);
}

void workers_list(struct worker_info *out)
{
    uint64_t now = clock_us();

    pthread_mutex_lock(&lock);
    for (uint32_t r = 0; r < workers.options.world_size; r++) {
        const struct worker *w = &workers.rank[r];
        uint64_t heard = __atomic_load_n(&w->heard_us, __ATOMIC_RELAXED);

        out[r] = w->info;
        if (w->host)
            host_figures(w->host, &out[r].arena);
        out[r].heartbeat_age_us = holds(w->info.state) && now > heard ? now - heard : 0;
    }
    pthread_mutex_unlock(&lock);
}

uint32_t workers_ready_count(void)
{
    return atomic_load(&workers.ready);
}

/* ---- start and stop ---- */

int workers_init(const struct workers_options *o, struct err *e)
{
    workers = (struct workers){.options = *o};
    workers.rank = calloc(o->world_size, sizeof *workers.rank);
    if (!workers.rank)
        return err_set(e, ERR_no_memory, "%u workers", o->world_size);
    for (uint32_t r = 0; r < o->world_size; r++) {
        struct worker *w = &workers.rank[r];

        w->info.rank = r;
        w->info.state = WORKER_absent;
        w->info.since_us = clock_wall_us();
        w->process.pidfd = -1;
        w->launched = r < o->launch;
    }
    if (fence_open(o->fence_dir, e) != 0 || workers_listen(o->listen, e) != 0 ||
        workers_listen_tcp(o->tcp_host, o->tcp_port, e) != 0) {
        workers_fini(0);
        return -1;
    }
    workers_follow_regions(true);
    for (uint32_t r = 0; r < o->launch; r++)
        worker_start(&workers.rank[r]);
    return 0;
}

static void say_stop(uint64_t deadline_us)
{
    uint64_t now = clock_us();
    uint64_t grace_ms = deadline_us > now ? (deadline_us - now) / 1000 : 0;
    static struct frame f; /* large */

    f = (struct frame){.type = FRAME_stop};
    f.stop.grace_ms = grace_ms < UINT32_MAX ? (uint32_t)grace_ms : UINT32_MAX;
    for (uint32_t r = 0; r < workers.options.world_size; r++) {
        struct worker *w = &workers.rank[r];

        worker_stop_start(w);
        if (w->peer)
            peer_send_frame(w->peer, &f);
        else
            launch_kill(&w->process, SIGTERM);
    }
}

static bool all_gone(void)
{
    for (uint32_t r = 0; r < workers.options.world_size; r++) {
        if (workers.rank[r].process.pidfd >= 0 || workers.rank[r].info.state != WORKER_absent)
            return false;
    }
    return true;
}

void workers_fini(uint64_t deadline_us)
{
    workers.stopping = true;
    workers_unlisten_tcp();
    workers_unlisten();
    say_stop(deadline_us);
    while (!all_gone() && clock_us() < deadline_us)
        core_turn(10000);
    for (uint32_t r = 0; r < workers.options.world_size; r++)
        worker_lose(&workers.rank[r], "the end of the server");
    deadline_us = clock_us() + CONFIRM_US;
    while (!all_gone() && clock_us() < deadline_us)
        core_turn(10000);
    if (!all_gone())
        log_warn("a worker has not exited after SIGKILL; the next start waits for it");
    workers_follow_regions(false);
    for (uint32_t r = 0; r < workers.options.world_size; r++)
        core_timer_clear(&workers.rank[r].fence);
    pthread_mutex_lock(&lock);
    workers.options.world_size = 0;
    free(workers.rank);
    workers.rank = NULL;
    pthread_mutex_unlock(&lock);
    comms_fini();
    fence_close();
}
