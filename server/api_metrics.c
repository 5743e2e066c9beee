/* api_metrics.c - what the service counts and measures: for Prometheus, and as JSON with what a
 * page would otherwise have to work out: rates and percentiles. */
#include "schema/clock.h"
#include "schema/op.h"
#include "server/api.h"
#include "server/events.h"
#include "server/extent.h"
#include "server/metrics.h"
#include "server/prometheus.h"
#include "server/region.h"
#include "server/vitals.h"
#include "server/workers.h"

#include <stdio.h>

static const uint32_t spans_s[] = {1, 10, METRICS_SECONDS};

#define SPANS (sizeof spans_s / sizeof spans_s[0])

static void span_write(struct text *t, uint32_t seconds, double value)
{
    char name[24];

    snprintf(name, sizeof name, "last_%us", seconds);
    text_double(t, name, value);
}

static void jobs_write(struct text *t)
{
    struct job_counts c;

    job_counts(&c);
    text_object(t, "jobs");
    text_uint(t, "waiting", c.waiting);
    text_uint(t, "queued", c.queued);
    text_uint(t, "running", c.running);
    text_uint(t, "succeeded", c.succeeded);
    text_uint(t, "failed", c.failed);
    text_uint(t, "cancelled", c.cancelled);
    text_uint(t, "retried", c.retried);
    text_uint(t, "late_answers", c.late);
    text_end_object(t);
    text_object(t, "jobs_per_s");
    for (size_t i = 0; i < SPANS; i++) {
        struct metrics_rate r;

        metrics_last(NULL, spans_s[i], &r);
        span_write(t, spans_s[i], (double)r.jobs / spans_s[i]);
    }
    text_end_object(t);
}

static void arena_write(struct text *t)
{
    struct extent_usage u;

    extent_usage(&u);
    text_object(t, "arena");
    text_uint(t, "size_bytes", u.arena_bytes);
    text_uint(t, "used_bytes", u.used_bytes);
    text_uint(t, "free_bytes", u.free_bytes);
    text_uint(t, "largest_free_bytes", u.largest_free_bytes);
    text_uint(t, "reserved_bytes", u.reserved_bytes);
    text_uint(t, "extents", u.extents);
    text_end_object(t);
}

static void lane_write(struct text *t)
{
    struct region_usage u;

    region_usage(&u);
    text_object(t, "lane");
    text_uint(t, "size_bytes", u.size_bytes);
    text_uint(t, "used_bytes", u.used_bytes);
    text_uint(t, "regions", u.regions);
    text_end_object(t);
}

static void connections_write(struct text *t)
{
    uint32_t open, most;
    uint64_t too_slow;

    http_connections(&open, &most, &too_slow);
    text_object(t, "connections");
    text_uint(t, "open", open);
    text_uint(t, "most", most);
    text_uint(t, "too_slow", too_slow);
    text_end_object(t);
}

/* ---- an operation ---- */

static void percentiles_write(struct text *t, const char *name, const struct op *op, bool recent)
{
    static const char *const phases[METRICS_PHASES] = {"queue", "collective", "total"};

    text_object(t, name);
    for (int phase = 0; phase < METRICS_PHASES; phase++) {
        struct metrics_percentiles p;

        metrics_percentiles(op, (enum metrics_phase)phase, recent, &p);
        if (p.count == 0) {
            text_null(t, phases[phase]);
            continue;
        }
        text_object(t, phases[phase]);
        text_uint(t, "count", p.count);
        text_double(t, "p50_us", p.p50_us);
        text_double(t, "p90_us", p.p90_us);
        text_double(t, "p99_us", p.p99_us);
        text_end_object(t);
    }
    text_end_object(t);
}

static void rates_write(struct text *t, const struct op *op)
{
    struct metrics_rate r[SPANS];

    for (size_t i = 0; i < SPANS; i++)
        metrics_last(op, spans_s[i], &r[i]);
    text_object(t, "jobs_per_s");
    for (size_t i = 0; i < SPANS; i++)
        span_write(t, spans_s[i], (double)r[i].jobs / spans_s[i]);
    text_end_object(t);
    text_object(t, "moved_GBps");
    for (size_t i = 0; i < SPANS; i++)
        span_write(t, spans_s[i], (double)r[i].moved_bytes / spans_s[i] / 1e9);
    text_end_object(t);
    if (r[SPANS - 1].collective_us > 0) {
        text_double(t, "algbw_GBps", metrics_algbw(&r[SPANS - 1]));
        text_double(t, "busbw_GBps", metrics_busbw(&r[SPANS - 1]));
    } else {
        text_null(t, "algbw_GBps");
        text_null(t, "busbw_GBps");
    }
}

static void op_write(struct text *t, const struct op *op)
{
    struct metrics_op m;

    metrics_op(op, &m);
    text_object(t, op->name);
    for (int s = 0; s < JOB_STATE_COUNT; s++) {
        if (job_state_terminal((enum job_state)s))
            text_uint(t, job_state_name((enum job_state)s), m.ended[s]);
    }
    text_uint(t, "in_bytes", m.in_bytes);
    text_uint(t, "out_bytes", m.out_bytes);
    rates_write(t, op);
    percentiles_write(t, "latency", op, false);
    percentiles_write(t, "recent_latency", op, true);
    text_end_object(t);
}

static void ops_write(struct text *t)
{
    text_object(t, "ops");
    for (const struct op *op = ops; op < ops + OP_COUNT; op++)
        op_write(t, op);
    text_end_object(t);
}

/* ---- the rest ---- */

static void calls_write(struct text *t)
{
    uint64_t waiting, missing;

    metrics_calls(&waiting, &missing);
    text_object(t, "calls");
    text_uint(t, "waiting", waiting);
    text_uint(t, "ranks_missing", missing);
    text_end_object(t);
}

static void store_write(struct text *t)
{
    struct metrics_histogram commit, batch;
    uint64_t done, refused;

    metrics_commits(&done, &refused);
    metrics_commit_histogram(&commit);
    metrics_batch_histogram(&batch);
    text_object(t, "store");
    text_uint(t, "commits", done);
    text_uint(t, "refused", refused);
    text_uint(t, "messages", batch.sum);
    text_uint(t, "commit_us", commit.sum);
    text_end_object(t);
}

/* Those that there were. */
static void refusals_write(struct text *t)
{
    text_object(t, "refusals");
    for (int c = ERR_none + 1; c < ERR_COUNT; c++) {
        uint64_t n = metrics_refusals((enum err_code)c);

        if (n > 0)
            text_uint(t, err_name((enum err_code)c), n);
    }
    text_end_object(t);
}

static void process_write(struct text *t)
{
    struct vitals v;

    vitals_read(&v);
    text_object(t, "process");
    text_double(t, "cpu_s", v.cpu_seconds);
    text_uint(t, "resident_bytes", v.resident_bytes);
    text_uint(t, "open_fds", v.open_fds);
    text_uint(t, "threads", v.threads);
    text_end_object(t);
}

int api_metrics(struct request *rq, struct err *e)
{
    struct text *t = &rq->reply.text;

    (void)e;
    text_object(t, NULL);
    text_uint(t, "uptime_us", clock_us() - api_facts.begun_us);
    jobs_write(t);
    arena_write(t);
    lane_write(t);
    text_uint(t, "tensors", tensor_count());
    text_uint(t, "json_bytes", body_json_bytes());
    text_uint(t, "event_streams", events_readers());
    text_uint(t, "waits", http_waits());
    connections_write(t);
    text_object(t, "workers");
    text_uint(t, "ready", workers_ready_count());
    text_uint(t, "world_size", group_world_size());
    text_end_object(t);
    ops_write(t);
    calls_write(t);
    store_write(t);
    refusals_write(t);
    process_write(t);
    text_end_object(t);
    return reply_json(rq, 200);
}

int api_prometheus(struct request *rq, struct err *e)
{
    if (prometheus_write(&rq->reply.text, e) != 0)
        return -1;
    return reply_text(rq, 200, "text/plain; version=0.0.4; charset=utf-8");
}
