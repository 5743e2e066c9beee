/* main.c - the coordinator's life: a table of steps to start, each with its undo; then signals. */
#include "server/announce.h"
#include "server/api.h"
#include "server/arena.h"
#include "server/core.h"
#include "server/durable.h"
#include "server/events.h"
#include "server/extent.h"
#include "server/group.h"
#include "server/guard.h"
#include "server/host.h"
#include "server/http.h"
#include "server/job.h"
#include "server/kv.h"
#include "server/lane.h"
#include "server/launch.h"
#include "server/options.h"
#include "server/options_parts.h"
#include "server/prepare.h"
#include "server/reaper.h"
#include "server/recovery.h"
#include "server/region.h"
#include "server/resident.h"
#include "server/retention.h"
#include "server/routes.h"
#include "server/sandbox.h"
#include "server/scheduler.h"
#include "server/static.h"
#include "server/store.h"
#include "server/tensor.h"
#include "server/tokens.h"
#include "server/transfers.h"
#include "server/user.h"
#include "server/workers.h"
#include "schema/clock.h"
#include "schema/log.h"
#include "schema/process.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_NS 2000000
#define MS 1000ull

static struct {
    struct options options;
    struct arena *arena;
    bool arena_kept;
    char worker_path[PATH_MAX];
    uint16_t port;
    char own_token[TOKEN_TEXT_BYTES]; /* "" unless one was made for this process */
    uint64_t stop_by_us;              /* workers may take until then to exit */
} program;

/* ---- the steps ---- */

static int start_port(struct err *e)
{
    struct http_options h = options_http(&program.options);

    return http_bind(&h, e);
}

/* Whatever needs root has been done by now. */
static int start_user(struct err *e)
{
    if (program.options.user.given)
        return user_become(&program.options.user, e);
    if (geteuid() == 0)
        log_info("this process is root: --user NAME makes it another user");
    return 0;
}

/* Before the database: what its rows name are accounts too, and who has a token has limits. As the
 * user that the process is from now on, who will read the file again. */
static int start_tokens(struct err *e)
{
    const struct options *o = &program.options;

    if (o->token_file[0])
        return tokens_load(o->token_file, o->arena_size_bytes, e);
    return o->own_token ? tokens_make_only(program.own_token, e) : 0;
}

static void stop_tokens(void)
{
    tokens_fini();
    account_fini();
}

static int start_sandbox(struct err *e)
{
    struct sandbox_options o = options_sandbox(&program.options);

    return sandbox_start(&o, e);
}

/* Every thread runs: from here the server only serves. */
static int start_serving(struct err *e)
{
    struct sandbox_options o = options_sandbox(&program.options);

    (void)e;
    sandbox_serve(&o);
    return 0;
}

static int start_store(struct err *e)
{
    return store_open(program.options.data_dir, e);
}

static int start_arena(struct err *e)
{
    const struct options *o = &program.options;

    if (arena_open(&program.arena, o->arena_dir, o->arena_size_bytes, store_arena_nonce(),
                   &program.arena_kept, e) != 0)
        return -1;
    if (durable)
        log_info("durable: what is acknowledged is on the disk: the database in %s, tensors in %s",
                 o->data_dir, o->arena_dir);
    return 0;
}

static void stop_arena(void)
{
    arena_close(program.arena);
}

static int start_extents(struct err *e)
{
    return extent_init(program.arena, e);
}

/* Addresses for what clients of this machine share with us. */
static int start_regions(struct err *e)
{
    uint64_t bytes = program.options.lane_size_bytes;

    if (bytes && arena_make_window(program.arena, bytes * LIMIT_LANE_WINDOW, e) != 0)
        return -1;
    return regions_init(program.arena, bytes, e);
}

static int start_lane(struct err *e)
{
    return lane_start(program.options.lane, e);
}

static int start_groups(struct err *e)
{
    return group_table_init(program.options.world, e);
}

static int start_events(struct err *e)
{
    (void)e;
    events_start();
    return 0;
}

static int start_jobs(struct err *e)
{
    return job_table_init(program.options.retain_us, e);
}

static int start_scheduler(struct err *e)
{
    return scheduler_init(program.options.world, program.options.overlap ? LIMIT_STREAM + 1 : 1,
                          job_begin, e);
}

/* The new arena's nonce is remembered only after what the old one held is marked lost: a crash
 * between the two makes the arena anew once more. */
static int start_recovery(struct err *e)
{
    if (recover(program.arena_kept, e) != 0)
        return -1;
    return program.arena_kept ? 0 : store_set_arena_nonce(arena_nonce(program.arena), e);
}

/* What the last commits answered is still in the inbox. */
static void stop_writer(void)
{
    store_stop();
    core_turn(0);
}

static int start_workers(struct err *e)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    const struct options *o = &program.options;
    struct workers_options w = {
        .world_size = o->world,
        .launch = o->workers,
        .listen = o->worker_listen,
        .tcp_host = o->worker_host,
        .tcp_port = o->worker_port,
        .fence_dir = o->arena_dir,
        .worker_path = program.worker_path,
        .backend = o->backend,
        .gpus = o->gpus,
        .resident_bytes = o->resident_bytes,
        .log_level = levels[o->log_level],
        .log_format = o->log_json ? "json" : "text",
        .arena = program.arena,
    };

    if (o->workers > 0 &&
        launch_find_worker(program.worker_path, sizeof program.worker_path, e) != 0)
        return -1;
    if (o->worker_host[0] && transfers_start(e) != 0)
        return -1;
    log_info("workers connect to %s", o->worker_listen);
    return workers_init(&w, e);
}

static void stop_workers(void)
{
    workers_fini(program.stop_by_us);
    transfers_stop();
    core_turn(0); /* what the last transfers answered is in the inbox */
    hosts_close();
    resident_close();
}

static int start_retention(struct err *e)
{
    (void)e;
    retention_start();
    return 0;
}

static int start_http(struct err *e)
{
    const struct options *o = &program.options;
    struct http_options h = options_http(o);

    api_facts = (struct api_facts){.version = TUTTI_VERSION,
                                   .backend = o->backend,
                                   .started_us = clock_wall_us(),
                                   .begun_us = clock_us(),
                                   .instance = id_new(),
                                   .retain_us = o->retain_us,
                                   .tls = o->tls_cert[0] != '\0'};
    static_init();
    guard_init(o->listen_host[0] ? o->listen_host : "localhost", o->allowed_hosts,
               o->allowed_origins);
    return http_start(&h, &program.port, e);
}

/* The port while we may, then all rights go; what others stand on first; workers, and with them the
 * fence, before the core gives memory out; requests last. And back in reverse. */
static const struct step {
    int (*start)(struct err *e);
    void (*stop)(void);
} steps[] = {
    {start_port, NULL},
    {start_user, NULL},
    {start_tokens, stop_tokens},
    {start_sandbox, NULL},
    {start_store, store_close},
    {start_arena, stop_arena},
    {start_regions, regions_fini},
    {start_extents, extent_fini},
    {tensor_table_init, tensor_table_fini},
    {start_groups, group_table_fini},
    {core_init, core_fini},
    {start_events, events_fini},
    {start_jobs, job_table_fini},
    {start_scheduler, scheduler_fini},
    {start_recovery, NULL},
    {store_start, stop_writer},
    {start_workers, stop_workers},
    {start_retention, retention_stop},
    {core_start, core_stop},
    {start_lane, lane_stop},
    {start_http, http_stop},
    {start_serving, NULL},
};

#define STEPS (sizeof steps / sizeof steps[0])

static void stop_steps(size_t started)
{
    while (started-- > 0) {
        if (steps[started].stop)
            steps[started].stop();
    }
}

static int start_steps(struct err *e)
{
    for (size_t i = 0; i < STEPS; i++) {
        if (steps[i].start(e) != 0) {
            program.stop_by_us = 0;
            stop_steps(i);
            return -1;
        }
    }
    return 0;
}

/* ---- signals ---- */

static sigset_t stop_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

/* Without a token file a terminal that closes ends us, as it ends any program. */
static sigset_t our_signals(void)
{
    sigset_t set = stop_signals();

    if (program.options.token_file[0])
        sigaddset(&set, SIGHUP);
    return set;
}

/* A file that is wrong changes nothing: who could come in still can. */
static void reload(void)
{
    const struct options *o = &program.options;
    struct err e;

    if (tokens_load(o->token_file, o->arena_size_bytes, &e) != 0)
        log_error("the tokens stay as they were: %s", e.detail);
}

/* Waits until done() is true, a stop signal comes, or the deadline has passed. Returns the signal,
 * or 0. */
static int wait_for(bool (*done)(void), uint64_t deadline_us)
{
    sigset_t set = our_signals();

    while (!done() && clock_us() < deadline_us) {
        int sig = sigtimedwait(&set, NULL, &(struct timespec){.tv_nsec = POLL_NS});

        if (sig == SIGHUP)
            reload();
        else if (sig > 0)
            return sig;
    }
    return 0;
}

static bool all_joined(void)
{
    return announce_world(&program.options);
}

static int wait_for_signal(void)
{
    sigset_t set = our_signals();
    int sig;

    while ((sig = sigwaitinfo(&set, NULL)) < 0 || sig == SIGHUP) {
        if (sig == SIGHUP)
            reload();
    }
    return sig;
}

static atomic_bool draining; /* the core has heard of it */

static void run_drain(struct core_msg *m)
{
    (void)m;
    job_drain();
    kv_drain();
    atomic_store(&draining, true);
}

/* Nothing runs, and every end is recorded. */
static bool drained(void)
{
    return atomic_load(&draining) && job_idle();
}

static void run_drain_waits(struct core_msg *m)
{
    (void)m;
    job_drain_waits();
    events_stop();
}

/* No new jobs; running ones may finish, queued ones stay for the next start. A second signal cuts
 * the grace short, and from then on a further one ends the process as it ends any: what was
 * acknowledged is in the database at every moment. */
static void drain(int sig)
{
    static struct core_msg jobs = {.run = run_drain}, waits = {.run = run_drain_waits};
    sigset_t set = stop_signals();
    uint64_t deadline = clock_us() + LIMIT_GRACE_MS * MS;
    int second;

    log_info("signal %d (%s): stopping", sig, strsignal(sig));
    core_post(&jobs);
    http_quiesce();
    second = wait_for(drained, deadline);
    program.stop_by_us = second || clock_us() > deadline ? 0 : clock_us() + LIMIT_CANCEL_MS * MS;
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    core_post(&waits);
}

/* ---- start ---- */

int main(int argc, char *argv[])
{
    sigset_t signals;
    int sig;
    struct err e;

    process_seal();
    if (options_read(&program.options, argc, argv, &e) != 0) {
        fprintf(stderr, "tutti-server: %s\n", e.detail);
        return 1;
    }
    if (program.options.new_token[0])
        return announce_new_token(&program.options);
    if (program.options.health)
        return announce_health(&program.options);
    durable = program.options.durable;
    if (program.options.print_tables) {
        routes_print_tables();
        return 0;
    }
    log_init("server", program.options.log_level, program.options.log_json);
    if (reaper_start(&e) != 0) {
        log_error("not started: %s", e.detail);
        return 1;
    }
    signals = our_signals();
    prepare_process(&signals);
    if (start_steps(&e) != 0) {
        log_error("not started: %s", e.detail);
        return 1;
    }
    sig = wait_for(all_joined, UINT64_MAX);
    if (!sig) {
        announce(&program.options, program.port, program.own_token);
        sig = wait_for_signal();
    }
    drain(sig);
    stop_steps(STEPS);
    log_info("stopped");
    return 0;
}
