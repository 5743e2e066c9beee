/* metrics.js - how fast it goes, over time: as long as this page has been open. */
import {h} from "../dom.js";
import {bytes, count, duration, jobRate, perSecond, rate} from "../format.js";
import {card, facts, head, opName} from "../parts.js";
import {plot} from "../plot.js";
import {samples} from "../samples.js";
import {plotsOpen, state} from "../state.js";

export const title = () => "Metrics";

const LINES = 8; // operations in one plot

export const enter = () => plotsOpen(true);
export const leave = () => plotsOpen(false);

function lines(pairs) {
    return pairs.map(([name, values], i) => ({name, values, colour: `--line-${i + 1}`}));
}

function counters() {
    const m = state.metrics;

    return m && card("Since the service started", {id: "counters"}, facts([
        ["Succeeded", count(m.jobs.succeeded)], ["Failed", count(m.jobs.failed)], ["Cancelled", count(m.jobs.cancelled)],
        ["Run again after a worker's death", count(m.jobs.retried)],
        ["Tensors", `${count(m.tensors)}, in ${count(m.arena.extents)} extents`],
        ["Largest tensor that would fit", bytes(m.arena.largest_free_bytes)],
        ["Connections", `${count(m.connections.open)} of ${count(m.connections.most)}`],
        ["Waiting requests", count(m.waits)], ["Event streams", count(m.event_streams)],
    ], "is-columns"));
}

/* What the service says of each operation that anybody has used; the rates and percentiles of the last minute. */
function byOperation() {
    const rows = Object.entries(state.metrics?.ops ?? {}).filter(([, o]) => o.succeeded + o.failed + o.cancelled > 0);
    const cells = ([name, o]) => {
        const t = o.recent_latency?.total;

        return [opName(name), count(o.succeeded), count(o.failed + o.cancelled), perSecond(o.jobs_per_s?.last_10s), jobRate(o.algbw_GBps), jobRate(o.busbw_GBps),
                duration(t?.p50_us), duration(t?.p90_us), duration(t?.p99_us)];
    };

    return rows.length > 0 && card("By operation", {id: "by-operation", wide: true}, h("div", {class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Figures of each operation"},
        h("table", null, h("thead", null, h("tr", null, ["Operation", "Succeeded", "Other ends", "Pace", "algbw", "busbw", "p50", "p90", "p99"].map((x, i) =>
            h("th", {key: x, scope: "col", class: i ? "is-number" : ""}, x)))),
          h("tbody", null, rows.map((row) => h("tr", {key: row[0]}, cells(row).map((x, i) => i ? h("td", {class: "is-number"}, x) : h("th", {scope: "row"}, x))))))));
}

export function view() {
    const {at} = samples, ops = [...samples.ops].slice(0, LINES);

    return [
        head("Metrics", "As this page has seen it since it was opened."),
        h("div", {class: "plots"},
          card("Jobs ended a second", {id: "plot-jobs"}, plot({at, says: "Jobs ended a second", format: perSecond, lines: lines([["jobs", samples.jobs]])})),
          card("Latency, received to ended", {id: "plot-latency"},
               plot({at, says: "Latency", format: duration, empty: "No job has ended yet.", lines: lines([["p50", samples.p50], ["p90", samples.p90], ["p99", samples.p99]])})),
          card("Rate by operation (algbw)", {id: "plot-rates"},
               plot({at, says: "Rate by operation", format: rate, empty: "No job has moved bytes since this page was opened.", lines: lines(ops)})),
          card("Arena in use", {id: "plot-arena"}, plot({at, says: "Arena in use", format: bytes, binary: true, lines: lines([["used", samples.used]])}))),
        byOperation(),
        counters(),
    ];
}
