/* samples.js - what the plots show: figures of the service over time, kept by the page as long as it is open. */
const MOST = 900; // samples: half an hour, looked at every two seconds

/* Columns of equal length. Those of operations come with the operation. */
export const samples = {at: [], jobs: [], used: [], p50: [], p90: [], p99: [], ops: new Map()};

/* Of each rank since the sample before: {jobs (a second), busy (0..1), GBps (null: the service does not say)}. */
export const rankRates = new Map();

let before = null;
let polls = false;
let ended = []; // jobs whose end was seen since the sample before

/* A job that an event told of. */
export function sampleJob(job) {
    if (typeof job.timeline?.total_us !== "number")
        return;
    ended.push({op: job.op, us: job.timeline.total_us, GBps: job.state === "succeeded" ? job.algbw_GBps : null});
    if (ended.length > 50000)
        ended = ended.slice(-25000);
}

function quantile(sorted, q) {
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : null;
}

function finished(metrics) {
    return metrics.jobs.succeeded + metrics.jobs.failed + metrics.jobs.cancelled;
}

function workersSince(workers, us) {
    for (const w of workers) {
        const old = before.workers.get(w.rank), c = w.counters;

        if (old && us > 0 && c.jobs_done >= old.jobs_done)
            rankRates.set(w.rank, {
                jobs: (c.jobs_done - old.jobs_done) / us * 1e6, busy: Math.min(1, (c.busy_us - old.busy_us) / us),
                GBps: c.moved_bytes === undefined ? null : (c.moved_bytes - old.moved_bytes) / us / 1e3,
            });
    }
}

function push(row) {
    for (const name of ["at", "jobs", "used", "p50", "p90", "p99"])
        samples[name].push(row[name]);
    for (const op of row.ops.keys())
        if (!samples.ops.has(op))
            samples.ops.set(op, new Array(samples.at.length - 1).fill(null));
    for (const [op, column] of samples.ops)
        column.push(row.ops.get(op) ?? null);
    if (samples.at.length > MOST)
        [samples.at, samples.jobs, samples.used, samples.p50, samples.p90, samples.p99, ...samples.ops.values()].forEach((c) => c.shift());
}

/* The rate of each operation: what the service says of the last minute; or the mean of the jobs that were seen to end. */
function opRates(metrics) {
    const sums = new Map();

    if (metrics.ops)
        return new Map(Object.entries(metrics.ops).filter(([, o]) => typeof o.algbw_GBps === "number").map(([op, o]) => [op, o.algbw_GBps]));

    for (const {op, GBps} of ended) {
        if (typeof GBps !== "number" || GBps <= 0)
            continue;
        const s = sums.get(op) ?? [0, 0];
        sums.set(op, [s[0] + GBps, s[1] + 1]);
    }
    return new Map([...sums].map(([op, [sum, n]]) => [op, sum / n]));
}

/* Of the jobs that were seen to end; while none is seen (a page that polls), what the service says of the busiest operation. */
function latency(metrics) {
    const sorted = ended.map((e) => e.us).sort((a, b) => a - b);
    const recent = Object.values(metrics.ops ?? {}).map((o) => o.recent_latency?.total).filter(Boolean).sort((a, b) => b.count - a.count)[0];

    if (sorted.length || !recent || !polls)
        return {p50: quantile(sorted, 0.5), p90: quantile(sorted, 0.9), p99: quantile(sorted, 0.99)};
    return {p50: recent.p50_us, p90: recent.p90_us, p99: recent.p99_us};
}

/* An answer of /v1/metrics, and the workers of the same moment. */
export function sample(metrics, workers, polling) {
    const again = before && metrics.uptime_us > before.metrics.uptime_us; // else the service is another one
    polls = polling;
    const us = again ? metrics.uptime_us - before.metrics.uptime_us : 0;

    if (again && us > 200000) {
        const {p50, p90, p99} = latency(metrics);

        workersSince(workers, us);
        push({at: Date.now() / 1000, jobs: Math.max(0, finished(metrics) - finished(before.metrics)) / us * 1e6, used: metrics.arena.used_bytes,
              p50, p90, p99, ops: opRates(metrics)});
    } else if (again)
        return;
    ended = [];
    before = {metrics, workers: new Map(workers.map((w) => [w.rank, w.counters]))};
}

export function latest(column) {
    return column.findLast((x) => x !== null) ?? null;
}
