/* workers.js - every rank: who holds it, how it is, what it has done. */
import {h} from "../dom.js";
import {bytes, clock, count, duration, ago, percent, perSecond, plural, rate, since} from "../format.js";
import {empty, facts, head, loading, pill, rankHue} from "../parts.js";
import {rankRates} from "../samples.js";
import {now, state} from "../state.js";

export const title = () => "Workers";

function memory(w) {
    if (w.gpu)
        return [bytes(w.gpu.resident_bytes), " resident of ", bytes(w.gpu.memory_bytes)];
    const arena = state.metrics?.arena;

    return arena ? ["the arena, shared: ", bytes(arena.used_bytes), " of ", bytes(arena.size_bytes)] : ["the arena, shared"];
}

function device(w) {
    return [w.gpu?.name ?? (w.device === "cpu" ? "CPU" : w.device ?? "nobody"), w.gpu?.simulated ? h("span", {class: "tag"}, "simulated") : null];
}

export function busyBar(rank) {
    const busy = rankRates.get(rank)?.busy;

    return h("div", {class: "meter", role: "img", "aria-label": `busy ${percent(busy ?? 0)} of the time`, vars: {"--part": String(busy ?? 0)}}, h("i"));
}

function one(w) {
    const c = w.counters ?? {}, rates = rankRates.get(w.rank);

    return h("li", {key: w.rank, class: `card worker is-${w.state}`, vars: rankHue(w.rank)},
        h("header", {class: "worker-head"}, h("span", {class: "worker-rank"}, h("small", null, "rank"), String(w.rank)),
          h("div", null, h("b", null, device(w)), h("small", {class: "quiet"}, w.host ?? "not connected")), pill(w.state)),
        busyBar(w.rank),
        facts([
            ["Throughput", rates ? `${rates.GBps === null ? "" : `${rate(rates.GBps)}, `}${perSecond(rates.jobs)} jobs, busy ${percent(rates.busy)}` : "not measured yet"],
            ["Memory", ...memory(w)],
            ["Since", h("time", {datetime: w.since ?? "", title: w.since ?? ""}, w.since ? ago(w.since, now()) : "–")],
            ["Jobs", `${count(c.jobs_done)} done, ${count(c.jobs_failed)} failed`],
            ["Busy in all", duration(c.busy_us)],
            ["Restarts", h("span", {class: c.restarts ? "is-warn" : ""}, count(c.restarts))],
            w.pid ? ["Process", `${w.pid}, ${w.backend} over ${w.link}, version ${w.version}`] : null,
            w.gpu ? ["Driver", `${w.gpu.driver_version}, NCCL ${w.gpu.nccl_version}`] : null,
        ]));
}

export function readyCount() {
    return state.workers.filter((w) => w.state === "ready" || w.state === "busy").length;
}

/* What happened to ranks while this page was open. */
export function happened() {
    return state.happened.length > 0 && h("ul", {class: "happened", "aria-label": "Lately"}, state.happened.slice(0, 6).map((x, i) =>
        h("li", {key: x.at + x.text + i}, h("time", {class: "quiet", datetime: x.at}, clock(x.at)), h("span", {class: `is-${x.how}`}, x.text))));
}

/* One sentence about the world. */
export function worldSays() {
    const size = state.service?.world_size ?? state.workers.length, lost = state.workers.filter((w) => w.state !== "ready" && w.state !== "busy");

    if (lost.length === 0)
        return `All ${plural(size, "rank")} are here.`;
    return `${size - lost.length} of ${plural(size, "rank")} are here; ${lost.slice(0, 8).map((w) =>
        `rank ${w.rank} is ${w.state}${w.since ? ` for ${duration(since(w.since, now()) * 1000)}` : ""}`).join(", ")}${lost.length > 8 ? ", …" : ""}.`;
}

export function view() {
    return [
        head("Workers", state.workers.length ? worldSays() : "One process holds each rank of the world."),
        happened(),
        !state.workers.length ? (state.service ? empty("No rank yet", "Workers join by themselves; those of this machine the server starts.",
                                                       "build/tutti-server --workers 4") : loading())
            : h("ul", {class: "worker-grid"}, state.workers.map(one)),
    ];
}
