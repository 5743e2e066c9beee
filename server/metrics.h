/* metrics.h - what is counted and measured: by operation, route, code and transaction; rates of the
 * last seconds; percentiles.
 *
 * Counting takes no lock: what one thread alone writes are plain stores, what several write are
 * relaxed atomics. Readers may come from any thread and see every number whole, and of numbers that
 * belong together some a moment older than others.
 */
#ifndef TUTTI_SERVER_METRICS_H
#define TUTTI_SERVER_METRICS_H

#include "schema/error.h"
#include "server/record.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- counting ---- */

void metrics_job_ended(const struct job_record *r); /* core thread; r is terminal */

/* Core thread. A job of calls is opened, and wants so many; one has come; no more are waited for,
 * and so many never came. */
void metrics_call_opened(uint32_t wanted);
void metrics_call_came(void);
void metrics_call_closed(uint32_t missing);

#define METRICS_ROUTES 128 /* the last: requests without a route */

/* Any thread. method: 0 the route's own, 1 HEAD; status: 200. */
void metrics_request(uint32_t route, bool head, int status, uint64_t us);
void metrics_refused(enum err_code code);

/* Store thread. */
void metrics_commit(bool done, uint32_t messages, uint64_t us);

/* ---- reading: any thread ---- */

struct metrics_op {
    uint64_t ended[JOB_STATE_COUNT]; /* of the terminal states */
    uint64_t in_bytes, out_bytes;    /* that ranks gave and got, of those that succeeded */
    uint64_t algo_bytes;             /* that algbw counts */
    double bus_bytes;
};
void metrics_op(const struct op *op, struct metrics_op *out);

/* The last so many whole seconds, up to METRICS_SECONDS, of one operation, or with NULL of all. */
#define METRICS_SECONDS 60
struct metrics_rate {
    uint64_t jobs; /* that ended */
    uint64_t algo_bytes, moved_bytes, collective_us;
    double bus_bytes;
};
void metrics_last(const struct op *op, uint32_t seconds, struct metrics_rate *out);

/* algbw and busbw in 10^9 bytes/s, or 0 when nothing was measured. */
double metrics_algbw(const struct metrics_rate *r);
double metrics_busbw(const struct metrics_rate *r);

enum metrics_phase { METRICS_QUEUE, METRICS_COLLECTIVE, METRICS_TOTAL, METRICS_PHASES };

struct metrics_percentiles {
    uint64_t count;
    double p50_us, p90_us, p99_us; /* within 1/10 of the true ones; of nothing: 0 */
};
/* recent: of the last 30 to 60 s; else since the process began. */
void metrics_percentiles(const struct op *op, enum metrics_phase phase, bool recent,
                         struct metrics_percentiles *out);

/* A histogram as Prometheus has it: how many were at most each bound, and the sum. */
#define METRICS_BOUNDS 22
struct metrics_histogram {
    uint32_t n; /* of bounds */
    uint64_t bound[METRICS_BOUNDS];
    uint64_t below[METRICS_BOUNDS]; /* cumulative */
    uint64_t count, sum;
};
/* In microseconds. */
void metrics_job_histogram(const struct op *op, enum metrics_phase phase,
                           struct metrics_histogram *out);
/* status: of the class status * 100. */
void metrics_request_histogram(uint32_t route, bool head, int class, struct metrics_histogram *out);
void metrics_commit_histogram(struct metrics_histogram *out);
void metrics_batch_histogram(struct metrics_histogram *out); /* in messages */

uint64_t metrics_refusals(enum err_code code);
void metrics_commits(uint64_t *done, uint64_t *refused);
void metrics_calls(uint64_t *waiting, uint64_t *missing);

#endif
