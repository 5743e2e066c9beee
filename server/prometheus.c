/* prometheus.c - the rows of metrics.def, each with the function that writes its samples. */
#include "server/prometheus.h"
#include "schema/op.h"
#include "server/api.h"
#include "server/body.h"
#include "server/events.h"
#include "server/extent.h"
#include "server/group.h"
#include "server/http.h"
#include "server/job.h"
#include "server/metrics.h"
#include "server/number.h"
#include "server/region.h"
#include "server/routes.h"
#include "server/vitals.h"
#include "server/workers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE_SECONDS METRICS_SECONDS

/* What several rows are written from is looked up once. */
struct scrape {
    struct text *out;
    const char *name; /* of the row that is being written */
    struct extent_usage arena;
    struct region_usage lane;
    struct job_counts jobs;
    struct vitals vitals;
    uint32_t connections, connections_limit;
    uint64_t slow_clients;
    uint32_t world;
    struct worker_info *workers;
};

/* ---- samples ---- */

static void put_number(struct text *out, double v)
{
    char number[NUMBER_TEXT];

    text_raw(out, number, number_write_double(v, number));
}

static void put_value(struct text *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n')
            text_raw(out, "\\n", 2);
        else if (*value == '\\' || *value == '"')
            text_format(out, "\\%c", *value);
        else
            text_raw(out, value, 1);
    }
}

/* Labels are pairs of strings, a name and its value, and then NULL. */
static void put_labels(struct text *out, va_list pairs)
{
    const char *name;
    bool any = false;

    while ((name = va_arg(pairs, const char *))) {
        text_format(out, "%s%s=\"", any ? "," : "{", name);
        put_value(out, va_arg(pairs, const char *));
        text_raw(out, "\"", 1);
        any = true;
    }
    if (any)
        text_raw(out, "}", 1);
}

static void __attribute__((sentinel)) put(struct scrape *s, double v, ...)
{
    va_list pairs;

    text_format(s->out, "%s", s->name);
    va_start(pairs, v);
    put_labels(s->out, pairs);
    va_end(pairs);
    text_raw(s->out, " ", 1);
    put_number(s->out, v);
    text_raw(s->out, "\n", 1);
}

static void put_series(struct scrape *s, const char *end, const char *labels, const char *more,
                       double v)
{
    const char *comma = *labels && *more ? "," : "";

    text_format(s->out, "%s%s", s->name, end);
    if (*labels || *more)
        text_format(s->out, "{%s%s%s}", labels, comma, more);
    text_raw(s->out, " ", 1);
    put_number(s->out, v);
    text_raw(s->out, "\n", 1);
}

/* labels: as they are written, of words that need no escape. scale: of a bound and of the sum. */
static void put_histogram(struct scrape *s, const struct metrics_histogram *h, const char *labels,
                          double scale)
{
    char le[NUMBER_TEXT + 8], number[NUMBER_TEXT];

    for (uint32_t i = 0; i < h->n; i++) {
        size_t len = number_write_double((double)h->bound[i] / scale, number);

        snprintf(le, sizeof le, "le=\"%.*s\"", (int)len, number);
        put_series(s, "_bucket", labels, le, (double)h->below[i]);
    }
    put_series(s, "_bucket", labels, "le=\"+Inf\"", (double)h->count);
    put_series(s, "_sum", labels, "", (double)h->sum / scale);
    put_series(s, "_count", labels, "", (double)h->count);
}

#define US 1e6 /* in a second */

#define EACH_OP for (const struct op *op = ops; op < ops + OP_COUNT; op++)
#define EACH_RANK                                                                             \
    for (const struct worker_info *w = s->workers; w < s->workers + s->world; w++)            \
        for (char rank[16], *once = rank; once && snprintf(rank, sizeof rank, "%u", w->rank); \
             once = NULL)

/* A row of one sample, and rows of one a rank. */
#define ONE(name, value)                       \
    static void write_##name(struct scrape *s) \
    {                                          \
        put(s, (double)(value), (char *)NULL); \
    }
#define RANK(name, value)                                    \
    static void write_##name(struct scrape *s)               \
    {                                                        \
        EACH_RANK                                            \
        put(s, (double)(value), "rank", rank, (char *)NULL); \
    }

/* ---- the service, jobs ---- */

static const char *backend(void)
{
    return strcmp(api_facts.backend, "auto") == 0 ? "shm" : api_facts.backend;
}

static void write_build_info(struct scrape *s)
{
    put(s, 1, "version", api_facts.version, "backend", backend(), (char *)NULL);
}

ONE(world_size, s->world)
ONE(workers_ready, workers_ready_count())

static void write_jobs_total(struct scrape *s)
{
    EACH_OP
    {
        struct metrics_op m;

        metrics_op(op, &m);
        for (int state = 0; state < JOB_STATE_COUNT; state++) {
            if (job_state_terminal((enum job_state)state))
                put(s, (double)m.ended[state], "op", op->name, "state",
                    job_state_name((enum job_state)state), (char *)NULL);
        }
    }
}

static void write_jobs_unfinished(struct scrape *s)
{
    put(s, (double)s->jobs.waiting, "state", job_state_name(JOB_waiting), (char *)NULL);
    put(s, (double)s->jobs.queued, "state", job_state_name(JOB_queued), (char *)NULL);
    put(s, (double)s->jobs.running, "state", job_state_name(JOB_running), (char *)NULL);
}

ONE(job_retries_total, s->jobs.retried)
ONE(late_answers_total, s->jobs.late)

static void job_histograms(struct scrape *s, enum metrics_phase phase)
{
    EACH_OP
    {
        struct metrics_histogram h;
        char label[80];

        metrics_job_histogram(op, phase, &h);
        snprintf(label, sizeof label, "op=\"%s\"", op->name);
        if (h.count > 0)
            put_histogram(s, &h, label, US);
    }
}

static void write_job_queue_seconds(struct scrape *s)
{
    job_histograms(s, METRICS_QUEUE);
}

static void write_job_collective_seconds(struct scrape *s)
{
    job_histograms(s, METRICS_COLLECTIVE);
}

static void write_job_duration_seconds(struct scrape *s)
{
    job_histograms(s, METRICS_TOTAL);
}

static void write_job_bytes_total(struct scrape *s)
{
    EACH_OP
    {
        struct metrics_op m;

        metrics_op(op, &m);
        put(s, (double)m.in_bytes, "op", op->name, "direction", "in", (char *)NULL);
        put(s, (double)m.out_bytes, "op", op->name, "direction", "out", (char *)NULL);
    }
}

static void write_job_algorithm_bytes_total(struct scrape *s)
{
    EACH_OP
    {
        struct metrics_op m;

        metrics_op(op, &m);
        put(s, (double)m.algo_bytes, "op", op->name, (char *)NULL);
    }
}

static void write_job_bus_bytes_total(struct scrape *s)
{
    EACH_OP
    {
        struct metrics_op m;

        metrics_op(op, &m);
        put(s, m.bus_bytes, "op", op->name, (char *)NULL);
    }
}

/* Of operations that ran: none is not the same as 0. */
static void bandwidths(struct scrape *s, double (*of)(const struct metrics_rate *))
{
    EACH_OP
    {
        struct metrics_rate r;

        metrics_last(op, RATE_SECONDS, &r);
        if (r.collective_us > 0)
            put(s, of(&r) * 1e9, "op", op->name, (char *)NULL);
    }
}

static void write_job_algbw_bytes_per_second(struct scrape *s)
{
    bandwidths(s, metrics_algbw);
}

static void write_job_busbw_bytes_per_second(struct scrape *s)
{
    bandwidths(s, metrics_busbw);
}

static void write_calls_waiting(struct scrape *s)
{
    uint64_t waiting, missing;

    metrics_calls(&waiting, &missing);
    put(s, (double)waiting, (char *)NULL);
}

static void write_ranks_missing(struct scrape *s)
{
    uint64_t waiting, missing;

    metrics_calls(&waiting, &missing);
    put(s, (double)missing, (char *)NULL);
}

/* ---- workers ---- */

static void write_worker_info(struct scrape *s)
{
    EACH_RANK
    {
        if (w->pid)
            put(s, 1, "rank", rank, "backend", w->backend, "device", w->device, "link",
                w->tcp ? "tcp" : "unix", (char *)NULL);
    }
}

static void write_worker_state(struct scrape *s)
{
    EACH_RANK
    {
        for (int state = 0; state < WORKER_STATE_COUNT; state++)
            put(s, w->state == (enum worker_state)state, "rank", rank, "state",
                worker_state_name((enum worker_state)state), (char *)NULL);
    }
}

static void write_worker_jobs_total(struct scrape *s)
{
    EACH_RANK
    {
        put(s, (double)w->jobs_done, "rank", rank, "result", "done", (char *)NULL);
        put(s, (double)w->jobs_failed, "rank", rank, "result", "failed", (char *)NULL);
    }
}

RANK(worker_busy_seconds_total, (double)w->busy_us / US)
RANK(worker_bytes_total, w->moved_bytes)
RANK(worker_restarts_total, w->restarts)
RANK(worker_losses_total, w->losses)
RANK(worker_heartbeat_age_seconds, (double)w->heartbeat_age_us / US)
RANK(worker_resident_bytes, w->resident_bytes)
RANK(worker_host_used_bytes, w->arena.used_bytes)
RANK(worker_host_sent_bytes_total, w->arena.sent_bytes)
RANK(worker_host_received_bytes_total, w->arena.received_bytes)
RANK(worker_host_channels_broken_total, w->arena.broken)
RANK(worker_device_memory_bytes, w->gpu.memory_bytes)

/* ---- memory, HTTP ---- */

ONE(arena_size_bytes, s->arena.arena_bytes)
ONE(arena_used_bytes, s->arena.used_bytes)
ONE(arena_free_bytes, s->arena.free_bytes)
ONE(arena_largest_free_bytes, s->arena.largest_free_bytes)
ONE(arena_reserved_bytes, s->arena.reserved_bytes)
ONE(arena_extents, s->arena.extents)
ONE(lane_size_bytes, s->lane.size_bytes)
ONE(lane_used_bytes, s->lane.used_bytes)
ONE(lane_regions, s->lane.regions)
ONE(tensors, tensor_count())
ONE(json_body_bytes, body_json_bytes())

static void request_histogram(struct scrape *s, uint32_t i, bool head, int class)
{
    const struct route *r = route_at(i);
    struct metrics_histogram h;
    char labels[160];

    metrics_request_histogram(i, head, class, &h);
    if (h.count == 0)
        return;
    snprintf(labels, sizeof labels, "method=\"%s\",route=\"%s\",status=\"%dxx\"",
             !r     ? "other"
             : head ? method_name(METHOD_HEAD)
                    : method_name(r->method),
             r ? r->pattern : "none", class);
    put_histogram(s, &h, labels, US);
}

static void write_http_request_duration_seconds(struct scrape *s)
{
    for (uint32_t i = 0; i < METRICS_ROUTES; i++) {
        for (int head = 0; head < 2; head++) {
            for (int class = 1; class <= 5; class ++)
                request_histogram(s, i, head, class);
        }
    }
}

static void write_http_refusals_total(struct scrape *s)
{
    for (int c = ERR_none + 1; c < ERR_COUNT; c++)
        put(s, (double)metrics_refusals((enum err_code)c), "code", err_name((enum err_code)c),
            (char *)NULL);
}

ONE(http_connections, s->connections)
ONE(http_connections_limit, s->connections_limit)
ONE(http_slow_clients_total, s->slow_clients)
ONE(http_waits, http_waits())
ONE(event_streams, events_readers())

/* ---- the database, the process ---- */

static void write_store_commits_total(struct scrape *s)
{
    uint64_t done, refused;

    metrics_commits(&done, &refused);
    put(s, (double)done, "result", "done", (char *)NULL);
    put(s, (double)refused, "result", "refused", (char *)NULL);
}

static void write_store_commit_seconds(struct scrape *s)
{
    struct metrics_histogram h;

    metrics_commit_histogram(&h);
    put_histogram(s, &h, "", US);
}

static void write_store_batch_messages(struct scrape *s)
{
    struct metrics_histogram h;

    metrics_batch_histogram(&h);
    put_histogram(s, &h, "", 1);
}

ONE(process_cpu_seconds_total, s->vitals.cpu_seconds)
ONE(process_resident_memory_bytes, s->vitals.resident_bytes)
ONE(process_virtual_memory_bytes, s->vitals.virtual_bytes)
ONE(process_open_fds, s->vitals.open_fds)
ONE(process_max_fds, s->vitals.max_fds)
ONE(process_threads, s->vitals.threads)
ONE(process_start_time_seconds, s->vitals.started_seconds)

/* ---- the table ---- */

#define TYPE_COUNTER "counter"
#define TYPE_GAUGE "gauge"
#define TYPE_HISTOGRAM "histogram"

/* A row without a function to write it does not compile. */
static const struct {
    const char *name, *type, *labels, *sentence;
    void (*write)(struct scrape *s);
} rows[] = {
#define METRIC(name, type, labels, sentence) \
    {"tutti_" #name, TYPE_##type, labels, sentence, write_##name},
#define PROCESS(name, type, sentence) {#name, TYPE_##type, "", sentence, write_##name},
#include "schema/metrics.def"
#undef METRIC
#undef PROCESS
};

#define ROWS (sizeof rows / sizeof rows[0])

int prometheus_write(struct text *out, struct err *e)
{
    struct scrape s = {.out = out, .world = group_world_size()};

    s.workers = calloc(s.world, sizeof *s.workers);
    if (!s.workers)
        return err_set(e, ERR_no_memory, "the list of workers");
    workers_list(s.workers);
    extent_usage(&s.arena);
    region_usage(&s.lane);
    job_counts(&s.jobs);
    vitals_read(&s.vitals);
    http_connections(&s.connections, &s.connections_limit, &s.slow_clients);
    for (size_t i = 0; i < ROWS; i++) {
        s.name = rows[i].name;
        text_format(out, "# HELP %s %s\n# TYPE %s %s\n", s.name, rows[i].sentence, s.name,
                    rows[i].type);
        rows[i].write(&s);
    }
    free(s.workers);
    return 0;
}

void prometheus_print_table(void)
{
    for (size_t i = 0; i < ROWS; i++)
        printf("metric %s %s %s\n", rows[i].name, rows[i].type,
               rows[i].labels[0] ? rows[i].labels : "-");
}
