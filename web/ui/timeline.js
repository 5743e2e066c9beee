/* timeline.js - where a job's time went: its phases one after the other, then each rank's part on an axis of their own. */
import {h} from "./dom.js";
import {duration, since} from "./format.js";
import {rankChip, rankHue} from "./parts.js";
import {now, opOf} from "./state.js";

const PHASES = [
    ["validated_us", "checked", "Until everything in the request was read and found right."],
    ["queued_us", "recorded", "Until the database had it, every rank had called, and it stood in its ranks' queues."],
    ["dispatch_us", "in the queue", "Until it headed all its ranks' queues, and was sent to them."],
    ["collective_us", "collective", "From the first rank's start to the last one's end."],
    ["rest_us", "answered", "Until every rank had reported, and the end was on record."],
];

const part = (x) => `${(100 * Math.min(1, Math.max(0, x))).toFixed(3)}%`;

function bar(what, from, length, title, vars = {}) {
    return h("i", {class: `bar ${what}`, title, vars: {...vars, "--from": part(from), "--length": part(length)}});
}

function axis(from, to) {
    return h("div", {class: "axis", "aria-hidden": "true"},
             [0, 0.25, 0.5, 0.75, 1].map((x) => h("span", {vars: {"--from": part(x)}}, duration(from + x * (to - from)))));
}

function lane(name, label, ...bars) {
    return h("li", {class: "lane"}, h("span", {class: "lane-name"}, name), h("div", {class: "lane-track", "aria-hidden": "true"}, bars),
             h("span", {class: "lane-says"}, label));
}

/* ---- phases ---- */

function phasesOf(job) {
    const t = {...job.timeline};

    if (typeof t.total_us === "number")
        t.rest_us = Math.max(0, PHASES.slice(0, 4).reduce((left, [name]) => left - (t[name] ?? 0), t.total_us));
    return PHASES.map(([name, title, sentence], i) => ({name: `phase-${i}`, title: job.seq !== undefined && name === "queued_us" ? "ranks came" : title, sentence, us: t[name]}))
        .filter((p) => typeof p.us === "number");
}

function phaseList(job) {
    const known = phasesOf(job), total = Math.max(1, known.reduce((sum, p) => sum + p.us, 0));
    let at = 0;

    return [
        h("div", {class: "phase-track", "aria-hidden": "true"}, known.map((p) => {
            const b = bar(p.name, at / total, p.us / total, `${p.title}: ${duration(p.us)}`);
            at += p.us;
            return b;
        })),
        h("ol", {class: "phases"}, known.map((p) => h("li", {key: p.name}, h("i", {class: `swatch ${p.name}`, "aria-hidden": "true"}),
            h("b", null, p.title), h("span", {class: "number"}, duration(p.us)), h("small", null, p.sentence)))),
    ];
}

/* ---- ranks that come one by one ---- */

/* Ranks that have not called, or never did. */
function absent(job) {
    return (job.state === "waiting" ? job.missing : job.error?.code === "ranks_missing" ? job.error.ranks : null) ?? [];
}

function calls(job, rank) {
    return opOf(job.op)?.gives !== "src" || rank === job.parameters?.src || rank === job.parameters?.dst;
}

/* When each came is known for a while; of those that waited in vain, that they did. */
function arrivals(job) {
    const t0 = Date.parse(job.timeline.received_at), waits = job.state === "waiting", never = new Set(absent(job));
    const came = new Map(job.arrived?.map((a) => [a.rank, (Date.parse(a.at) - t0) * 1000]));
    const end = Math.max(1, waits ? since(job.timeline.received_at, now()) * 1000 : never.size ? job.timeline.total_us : Math.max(...came.values()));

    return [
        h("ul", {class: "lanes"}, job.ranks.map((_, r) => {
            const at = came.get(r);

            if (never.has(r))
                return lane(rankChip(r, "is-missing"), h("strong", {class: "is-warn"}, "missing"), bar("missing", 0, 1, waits ? "has not called" : "never called"));
            if (at !== undefined)
                return lane(rankChip(r), at <= 1 ? "came first" : `came after ${duration(at)}`,
                            bar("waits", at / end, 1 - at / end, "waits for the others", rankHue(r)),
                            h("i", {class: "tick", vars: {...rankHue(r), "--from": part(at / end)}}));
            return never.size && calls(job, r) ? lane(rankChip(r), "came", bar("waits", 0, 1, "waited for the others", rankHue(r))) : lane(rankChip(r), "is not needed");
        })),
        came.size > 0 && axis(0, end),
    ];
}

/* ---- ranks at work ---- */

function ran(job) {
    const at = (job.timeline.ranks ?? []).filter((x) => typeof x.started_us === "number");

    if (at.length === 0)
        return null;
    const from = Math.min(...at.map((x) => x.started_us)), to = Math.max(...at.map((x) => x.started_us + x.collective_us), from + 0.001);
    const late = Math.max(...at.map((x) => x.started_us)) - from;

    return [
        h("ul", {class: "lanes"}, job.timeline.ranks.map((x) => typeof x.started_us !== "number"
            ? lane(rankChip(x.rank), "never said")
            : lane(rankChip(x.rank), `${x.started_us - from < 0.05 ? "first" : `+${duration(x.started_us - from)}`}, took ${duration(x.collective_us)}`,
                   bar("works", (x.started_us - from) / (to - from), x.collective_us / (to - from), duration(x.collective_us), rankHue(x.rank))))),
        axis(0, to - from),
        h("p", {class: "quiet"}, `The first rank began ${duration(from)} after the request came`,
          job.ranks.length > 1 ? `; the last to begin was ${duration(late)} behind it.` : "."),
    ];
}

/* What is known so far; it grows while the job goes on. */
export function timeline(job) {
    const work = ran(job), called = job.arrived?.length > 0 || absent(job).length > 0;

    return h("div", {class: "timeline"},
             called && h("div", {key: "came"}, h("h3", null, "Who has come"), arrivals(job)),
             job.state !== "waiting" && h("div", {key: "phases"}, h("h3", null, "Where the time went",
                                         typeof job.timeline.total_us === "number" && h("span", {class: "number quiet"}, ` ${duration(job.timeline.total_us)} in all`)),
               phaseList(job)),
             work && h("div", {key: "ran"}, h("h3", null, "Each rank at work"), work));
}
