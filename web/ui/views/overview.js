/* overview.js - at a glance: what runs, who waits for whom, how fast it goes. */
import {h} from "../dom.js";
import {bytes, count, duration, percent, perSecond, since} from "../format.js";
import {card, empty, head, loading, missingNames, pill, problemBox, rankChip, rankHue} from "../parts.js";
import {href} from "../router.js";
import {latest, rankRates, samples} from "../samples.js";
import {firstJob} from "../snippets.js";
import {now, state} from "../state.js";
import {jobTable} from "./jobtable.js";
import {happened, readyCount, worldSays} from "./workers.js";

export const title = () => "Overview";

/* The last minutes as a line, without axes. */
function spark(column) {
    const values = column.slice(-60).map((x) => x ?? 0), most = Math.max(...values, 1e-9);

    if (values.length < 2)
        return h("div", {class: "spark"});
    const points = values.map((v, i) => `${(i / (values.length - 1) * 100).toFixed(2)},${(28 - v / most * 26).toFixed(2)}`).join(" ");
    return h("svg", {class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false"},
             h("polygon", {points: `0,30 ${points} 100,30`}), h("polyline", {points}));
}

function tile(name, value, more, picture, to) {
    return h("a", {class: "tile", key: name, href: href([to])}, h("span", {class: "tile-name"}, name), h("span", {class: "tile-value"}, value),
             h("span", {class: "tile-more"}, more), picture);
}

function meter(part) {
    return h("div", {class: "meter", "aria-hidden": "true", vars: {"--part": String(part || 0)}}, h("i"));
}

function tiles() {
    const m = state.metrics, size = state.service?.world_size ?? state.workers.length, ready = readyCount();

    return h("div", {class: "tiles"},
        tile("World", state.workers.length ? [count(ready), h("small", null, ` of ${count(size)}`)] : "–", "ranks ready", meter(size ? ready / size : 0), "workers"),
        tile("Jobs now", m ? count(m.jobs.running + m.jobs.queued + m.jobs.waiting) : "–",
             m ? `${count(m.jobs.running)} running, ${count(m.jobs.queued)} queued, ${count(m.jobs.waiting)} waiting` : "", null, "jobs"),
        tile("Pace", samples.jobs.length ? perSecond(latest(samples.jobs)) : h("small", null, "collecting…"), latest(samples.p50) === null ? "jobs that ended" : `half of them within ${duration(latest(samples.p50))}`, spark(samples.jobs), "metrics"),
        tile("Arena", m ? bytes(m.arena.used_bytes) : "–", m ? `of ${bytes(m.arena.size_bytes)}, ${count(m.tensors)} tensors` : "",
             meter(m ? m.arena.used_bytes / m.arena.size_bytes : 0), "metrics"));
}

/* ---- who waits for whom ---- */

function waiter(job) {
    const came = new Set(job.arrived?.map((a) => a.rank));

    return h("li", {key: job.id, class: "waiter"},
        h("div", null, h("a", {href: href(["jobs", job.id])}, job.op), h("span", {class: "quiet"}, ` on ${job.group ?? job.ranks.join(", ")}`),
          job.label ? h("span", {class: "label", title: job.label}, job.label) : null),
        h("p", {class: "rank-line"}, job.ranks.slice(0, 32).map((_, r) => rankChip(r, job.missing?.includes(r) ? "is-missing" : came.has(r) ? "" : "is-idle"))),
        h("p", {class: "waiter-says"}, job.missing?.length
            ? [h("strong", {class: "is-warn"}, `Rank${job.missing.length > 1 ? "s" : ""} ${missingNames(job).slice(0, 8).join(", ")} missing`), ` for ${duration(since(job.timeline.received_at, now()) * 1000)}`]
            : job.waits_for?.length ? ["Takes what ", job.waits_for.slice(0, 4).map((id) => h("a", {key: id, href: href(["jobs", id])}, `${id.slice(0, 4)}…${id.slice(-5)} `)), "will give"] : "All have come"));
}

function waiting() {
    const rows = state.waiting.rows;

    return card("Who waits for whom", {id: "waiting", actions: rows.length > 6 && h("a", {href: href(["jobs"], {state: "waiting"})}, "All")},
        rows.length ? h("ul", {class: "waiters"}, rows.slice(0, 6).map(waiter)) : h("p", {class: "quiet calm"}, "Nobody waits for anybody."));
}

function world() {
    return card("Ranks", {id: "ranks", actions: h("a", {href: href(["workers"])}, "Details")},
        h("p", {class: "quiet"}, worldSays()),
        h("ul", {class: "rank-grid"}, state.workers.slice(0, 64).map((w) => h("li", {key: w.rank, class: `rank-cell is-${w.state}`, vars: rankHue(w.rank)},
            h("b", null, String(w.rank)), pill(w.state), h("span", {class: "quiet number"}, percent(rankRates.get(w.rank)?.busy ?? 0), h("span", {class: "off-screen"}, " busy"))))),
        happened());
}

function recent() {
    const rows = state.recent.rows;

    return card("Latest jobs", {id: "latest", wide: true, actions: h("a", {href: href(["jobs"])}, "All jobs")},
        problemBox(state.recent.problem),
        rows.length ? jobTable(rows.slice(0, 10), "The latest jobs")
            : state.recent.loaded ? empty("No job yet", "Run one in the playground, or send one from a terminal:", firstJob(state.service?.world_size ?? 2)) : loading());
}

export function view() {
    const s = state.service;

    return [
        head("Overview", s ? `tutti ${s.version} on ${s.backend}${s.durable ? ", durable" : ""}, up for ${duration(since(s.started_at, now()) * 1000)}` : "…"),
        tiles(),
        h("div", {class: "columns"}, waiting(), world()),
        recent(),
    ];
}
