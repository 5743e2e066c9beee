/* metrics.c - counters, histograms and rates; the only place that makes percentiles. */
#include "server/metrics.h"
#include "schema/clock.h"
#include "server/given.h"

#include <stdatomic.h>
#include <string.h>

typedef _Atomic uint64_t counter;

/* Of the one thread that writes it: no bus is locked. */
static void bump(counter *c, uint64_t by)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static void add(counter *c, uint64_t by)
{
    atomic_fetch_add_explicit(c, by, memory_order_relaxed);
}

static uint64_t get(const counter *c)
{
    return atomic_load_explicit((counter *)(uintptr_t)c, memory_order_relaxed);
}

/* ---- fine buckets, for percentiles ---- */

/* (0, 1], (1, 2] ... (9, 10] microseconds; then each decade has 35: by tenths of its lower end up
 * to twice that, by fifths up to five times, by halves to ten times. None is wider than a tenth of
 * its values, and 1, 2 and 5 of every decade are bounds. */
#define DECADE 35
#define DECADES 9 /* up to 10^10 us */
#define FINE (10 + DECADE * DECADES)

static uint32_t fine_of(uint64_t us)
{
    uint64_t x = us ? us - 1 : 0, step = 1;
    uint32_t decade = 0, s;

    if (x < 10)
        return (uint32_t)x;
    for (uint64_t at = x; at >= 100; at /= 10) {
        decade++;
        step *= 10;
    }
    if (decade >= DECADES)
        return FINE - 1;
    s = (uint32_t)(x / step); /* 10 .. 99 */
    s = s < 20 ? s - 10 : s < 50 ? 10 + (s - 20) / 2 : 25 + (s - 50) / 5;
    return 10 + DECADE * decade + s;
}

/* Up to and with this value. */
static uint64_t fine_bound(uint32_t i)
{
    uint64_t step = 1;
    uint32_t s;

    if (i < 10)
        return i + 1;
    for (i -= 10; i >= DECADE; i -= DECADE)
        step *= 10;
    s = i < 10 ? 11 + i : i < 25 ? 22 + (i - 10) * 2 : 55 + (i - 25) * 5;
    return s * step;
}

/* ---- what there is ---- */

struct fine {
    counter bucket[FINE];
    counter sum;
};

/* Half a minute of the last ones. */
#define WINDOW_US 30000000ull
struct window {
    counter number; /* which half minute; those before it do not count */
    counter bucket[FINE];
};

struct coarse {
    counter bucket[METRICS_BOUNDS + 1];
    counter sum;
};

/* One second. */
#define SLOTS 64
struct second {
    counter number;
    struct {
        counter jobs, algo_bytes, moved_bytes, bus_bytes, collective_us;
    } of[OP_COUNT];
};

static struct {
    struct {
        counter ended[JOB_STATE_COUNT];
        counter in_bytes, out_bytes, algo_bytes, bus_bytes;
        struct fine phase[METRICS_PHASES];
        struct window window[METRICS_PHASES][2];
    } op[OP_COUNT];
    struct second second[SLOTS];
    counter calls_waiting, ranks_missing;
    struct coarse request[METRICS_ROUTES][2][6]; /* by status / 100 */
    counter refused[ERR_COUNT];
    struct coarse commit, batch;
    counter commits, commits_refused;
} all;

/* ---- jobs: the core thread writes ---- */

static void measure(uint32_t op, enum metrics_phase phase, uint64_t us, uint64_t now_us)
{
    struct fine *f = &all.op[op].phase[phase];
    uint64_t number = now_us / WINDOW_US;
    struct window *w = &all.op[op].window[phase][number % 2];
    uint32_t i = fine_of(us);

    bump(&f->bucket[i], 1);
    bump(&f->sum, us);
    if (get(&w->number) != number) {
        for (uint32_t b = 0; b < FINE; b++)
            atomic_store_explicit(&w->bucket[b], 0, memory_order_relaxed);
        atomic_store_explicit(&w->number, number, memory_order_relaxed);
    }
    bump(&w->bucket[i], 1);
}

static struct second *this_second(uint64_t now_us)
{
    uint64_t number = now_us / 1000000;
    struct second *s = &all.second[number % SLOTS];

    if (get(&s->number) != number) {
        for (uint32_t op = 0; op < OP_COUNT; op++) {
            atomic_store_explicit(&s->of[op].jobs, 0, memory_order_relaxed);
            atomic_store_explicit(&s->of[op].algo_bytes, 0, memory_order_relaxed);
            atomic_store_explicit(&s->of[op].moved_bytes, 0, memory_order_relaxed);
            atomic_store_explicit(&s->of[op].bus_bytes, 0, memory_order_relaxed);
            atomic_store_explicit(&s->of[op].collective_us, 0, memory_order_relaxed);
        }
        atomic_store_explicit(&s->number, number, memory_order_relaxed);
    }
    return s;
}

static void count_bytes(const struct job_record *r, struct second *s)
{
    uint32_t op = (uint32_t)(r->op - ops);
    uint64_t in = given_input_bytes(r);
    uint64_t out = shape_count(&r->out_shape) * dtypes[r->dtype].size_bytes;
    uint64_t algo = op_algo_bytes(in, out);
    uint64_t bus = (uint64_t)((double)algo * op_bus_factor(r->op, r->n));
    uint64_t gave = in * given_count(r), got = 0;

    for (uint32_t i = 0; i < r->n; i++)
        got += record_gets(r, i) ? out : 0;
    bump(&all.op[op].in_bytes, gave);
    bump(&all.op[op].out_bytes, got);
    bump(&all.op[op].algo_bytes, algo);
    bump(&all.op[op].bus_bytes, bus);
    bump(&s->of[op].algo_bytes, algo);
    bump(&s->of[op].bus_bytes, bus);
    bump(&s->of[op].moved_bytes, gave + got);
    bump(&s->of[op].collective_us, r->collective_us);
}

void metrics_job_ended(const struct job_record *r)
{
    uint32_t op = (uint32_t)(r->op - ops);
    uint64_t now_us = clock_us();
    struct second *s = this_second(now_us);

    bump(&all.op[op].ended[r->state], 1);
    bump(&s->of[op].jobs, 1);
    measure(op, METRICS_TOTAL, r->total_us, now_us);
    if (r->attempts > 0)
        measure(op, METRICS_QUEUE, r->dispatch_us, now_us);
    if (r->state != JOB_succeeded)
        return;
    measure(op, METRICS_COLLECTIVE, r->collective_us, now_us);
    count_bytes(r, s);
}

void metrics_call_opened(uint32_t wanted)
{
    bump(&all.calls_waiting, 1);
    bump(&all.ranks_missing, wanted);
}

void metrics_call_came(void)
{
    bump(&all.ranks_missing, (uint64_t)-1);
}

void metrics_call_closed(uint32_t missing)
{
    bump(&all.calls_waiting, (uint64_t)-1);
    bump(&all.ranks_missing, -(uint64_t)missing);
}

/* ---- requests: any thread; transactions: the store's ---- */

/* 1, 2 and 5 of every decade, from 10 us to 100 s. */
static const uint64_t time_bounds[METRICS_BOUNDS] = {
    10,      20,      50,       100,      200,      500,      1000,   2000,
    5000,    10000,   20000,    50000,    100000,   200000,   500000, 1000000,
    2000000, 5000000, 10000000, 20000000, 50000000, 100000000};

/* Of messages in a transaction. */
#define BATCH_BOUNDS 13
static const uint64_t batch_bounds[BATCH_BOUNDS] = {1,   2,   4,   8,    16,   32,  64,
                                                    128, 256, 512, 1024, 2048, 4096};

static uint32_t coarse_of(const uint64_t *bounds, uint32_t n, uint64_t value)
{
    uint32_t i = 0;

    while (i < n && value > bounds[i])
        i++;
    return i;
}

void metrics_request(uint32_t route, bool head, int status, uint64_t us)
{
    int class = status / 100;
    struct coarse *c;

    if (route >= METRICS_ROUTES)
        route = METRICS_ROUTES - 1;
    if (class < 1 || class > 5)
        class = 5;
    c = &all.request[route][head][class];
    add(&c->bucket[coarse_of(time_bounds, METRICS_BOUNDS, us)], 1);
    add(&c->sum, us);
}

void metrics_refused(enum err_code code)
{
    add(&all.refused[code], 1);
}

void metrics_commit(bool done, uint32_t messages, uint64_t us)
{
    if (!done) {
        bump(&all.commits_refused, 1);
        return;
    }
    bump(&all.commits, 1);
    bump(&all.commit.bucket[coarse_of(time_bounds, METRICS_BOUNDS, us)], 1);
    bump(&all.commit.sum, us);
    bump(&all.batch.bucket[coarse_of(batch_bounds, BATCH_BOUNDS, messages)], 1);
    bump(&all.batch.sum, messages);
}

/* ---- reading ---- */

void metrics_op(const struct op *op, struct metrics_op *out)
{
    uint32_t i = (uint32_t)(op - ops);

    for (int s = 0; s < JOB_STATE_COUNT; s++)
        out->ended[s] = get(&all.op[i].ended[s]);
    out->in_bytes = get(&all.op[i].in_bytes);
    out->out_bytes = get(&all.op[i].out_bytes);
    out->algo_bytes = get(&all.op[i].algo_bytes);
    out->bus_bytes = get(&all.op[i].bus_bytes);
}

static void add_second(const struct second *s, uint32_t op, struct metrics_rate *out)
{
    out->jobs += get(&s->of[op].jobs);
    out->algo_bytes += get(&s->of[op].algo_bytes);
    out->moved_bytes += get(&s->of[op].moved_bytes);
    out->bus_bytes += get(&s->of[op].bus_bytes);
    out->collective_us += get(&s->of[op].collective_us);
}

void metrics_last(const struct op *op, uint32_t seconds, struct metrics_rate *out)
{
    uint64_t now = clock_us() / 1000000;

    *out = (struct metrics_rate){0};
    for (uint64_t ago = 1; ago <= seconds && ago <= now; ago++) {
        const struct second *s = &all.second[(now - ago) % SLOTS];

        if (get(&s->number) != now - ago)
            continue;
        for (uint32_t i = 0; i < OP_COUNT; i++) {
            if (!op || op == &ops[i])
                add_second(s, i, out);
        }
    }
}

double metrics_algbw(const struct metrics_rate *r)
{
    return r->collective_us ? (double)r->algo_bytes / (double)r->collective_us / 1e3 : 0;
}

double metrics_busbw(const struct metrics_rate *r)
{
    return r->collective_us ? (double)r->bus_bytes / (double)r->collective_us / 1e3 : 0;
}

/* The value that a share of them does not pass, as if those of a bucket lay evenly in it. */
static double percentile(const uint64_t bucket[FINE], uint64_t count, double share)
{
    double rank = share * (double)count, before = 0;

    for (uint32_t i = 0; i < FINE && count > 0; i++) {
        double low = i ? (double)fine_bound(i - 1) : 0, high = (double)fine_bound(i);
        double here = (double)bucket[i];

        if (here > 0 && before + here >= rank)
            return low + (high - low) * (rank - before) / here;
        before += here;
    }
    return 0;
}

static void read_window(const struct window *w, uint64_t bucket[FINE])
{
    uint64_t number = clock_us() / WINDOW_US, of = get(&w->number);

    if (of != number && of + 1 != number)
        return;
    for (uint32_t i = 0; i < FINE; i++)
        bucket[i] += get(&w->bucket[i]);
}

void metrics_percentiles(const struct op *op, enum metrics_phase phase, bool recent,
                         struct metrics_percentiles *out)
{
    uint32_t o = (uint32_t)(op - ops);
    uint64_t bucket[FINE] = {0}, count = 0;

    for (uint32_t i = 0; i < FINE && !recent; i++)
        bucket[i] = get(&all.op[o].phase[phase].bucket[i]);
    for (int half = 0; half < 2 && recent; half++)
        read_window(&all.op[o].window[phase][half], bucket);
    for (uint32_t i = 0; i < FINE; i++)
        count += bucket[i];
    *out = (struct metrics_percentiles){.count = count,
                                        .p50_us = percentile(bucket, count, 0.5),
                                        .p90_us = percentile(bucket, count, 0.9),
                                        .p99_us = percentile(bucket, count, 0.99)};
}

/* ---- histograms ---- */

void metrics_job_histogram(const struct op *op, enum metrics_phase phase,
                           struct metrics_histogram *out)
{
    const struct fine *f = &all.op[op - ops].phase[phase];
    uint32_t at = 0;

    *out = (struct metrics_histogram){.n = METRICS_BOUNDS, .sum = get(&f->sum)};
    memcpy(out->bound, time_bounds, sizeof time_bounds);
    for (uint32_t i = 0; i < FINE; i++) {
        while (at < METRICS_BOUNDS && fine_bound(i) > time_bounds[at])
            out->below[at++] = out->count;
        out->count += get(&f->bucket[i]);
    }
}

static void read_coarse(const struct coarse *c, const uint64_t *bounds, uint32_t n,
                        struct metrics_histogram *out)
{
    *out = (struct metrics_histogram){.n = n, .sum = get(&c->sum)};
    memcpy(out->bound, bounds, n * sizeof *bounds);
    for (uint32_t i = 0; i <= n; i++) {
        out->count += get(&c->bucket[i]);
        if (i < n)
            out->below[i] = out->count;
    }
}

void metrics_request_histogram(uint32_t route, bool head, int class, struct metrics_histogram *out)
{
    read_coarse(&all.request[route][head][class], time_bounds, METRICS_BOUNDS, out);
}

void metrics_commit_histogram(struct metrics_histogram *out)
{
    read_coarse(&all.commit, time_bounds, METRICS_BOUNDS, out);
}

void metrics_batch_histogram(struct metrics_histogram *out)
{
    read_coarse(&all.batch, batch_bounds, BATCH_BOUNDS, out);
}

uint64_t metrics_refusals(enum err_code code)
{
    return get(&all.refused[code]);
}

void metrics_commits(uint64_t *done, uint64_t *refused)
{
    *done = get(&all.commits);
    *refused = get(&all.commits_refused);
}

void metrics_calls(uint64_t *waiting, uint64_t *missing)
{
    *waiting = get(&all.calls_waiting);
    *missing = get(&all.ranks_missing);
}
