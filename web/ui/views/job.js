/* job.js - one job: what it is, where its time went, who is missing, what came out, and what can be done with it. */
import {announce, invalidate} from "../app.js";
import {ask, getExact, post, remove} from "../api.js";
import {h} from "../dom.js";
import {clock, count, jobRate, list, plural, rate, shape} from "../format.js";
import {card, code, confirmThen, copyButton, copyButtons, facts, head, loading, missingNames, pill, problemBox, rankChip, rankHue, stateSays} from "../parts.js";
import {remembered, rememberBody, requestOf} from "../remember.js";
import {go, href, route} from "../router.js";
import {asCurl, asPython} from "../snippets.js";
import {mayAct, opOf, state, tellForgotten, tellJob, watchJob} from "../state.js";
import {describe, elements, figures, firstElements, flatten, preview} from "../tensor.js";
import {timeline} from "../timeline.js";

const RANKS = 16; // outputs that are shown unasked

let here = null; // {id, job, problem, acting, firsts: Map of tensor -> elements, all, given: {script} or {problem}, script}
let unwatch = null;

export const title = () => here?.job?.op ?? "Job";

const over = (job) => ["succeeded", "failed", "cancelled"].includes(job.state);

export function enter() {
    const id = route.path[1];

    if (here?.id === id)
        return;
    leave();
    const mine = here = {id, job: null, problem: null, acting: null, firsts: new Map(), all: false};

    unwatch = watchJob({id, job: changed, again: () => load(mine)});
    load(mine);
}

export function leave() {
    unwatch?.();
    here = unwatch = null;
}

async function load(mine) {
    try {
        const job = await getExact(`v1/jobs/${encodeURIComponent(mine.id)}`);

        if (mine !== here)
            return;
        mine.job = {...job, arrived: job.arrived ?? mine.job?.arrived}; // who came when is forgotten at the end
        mine.problem = null;
        peek(mine);
        lookGiven(mine);
    } catch (e) {
        if (mine === here && !(mine.job && e.code === "unreachable"))
            mine.problem = e;
    }
    invalidate();
}

/* An event has no outputs' data: an end is looked at again. */
function changed(job) {
    const before = here.job;

    if (before && over(before))
        return;
    here.job = {...job, arrived: job.arrived ?? before?.arrived, outputs: before?.outputs ?? null};
    if (!before || before.state !== job.state)
        announce(stateSays(job.state));
    if (over(job))
        load(here);
}

/* Outputs that are too large to come with the document: their first elements. */
async function peek(mine) {
    const wanted = [...new Map((mine.job.outputs ?? []).filter((o) => o && o.data === undefined).map((o) => [o.tensor, o])).values()];

    for (const output of wanted.slice(0, RANKS)) {
        try {
            mine.firsts.set(output.tensor, await firstElements(output));
        } catch (e) {
            mine.firsts.set(output.tensor, e);
        }
        if (mine !== here)
            return;
    }
    invalidate();
}

/* ---- what it was asked with ---- */

/* The name of its group, as long as that has the same ranks. */
function groupOf(job) {
    const same = (g) => g.name === job.group && g.owner === job.owner && g.ranks.join() === job.ranks.join();

    return state.groups.some(same) ? job.group : null;
}

/* What the service has kept of a job that this page has not sent. */
async function lookGiven(mine) {
    if (!over(mine.job) || mine.given || remembered(mine.id))
        return;
    mine.given = {};
    try {
        mine.given = {script: await (await ask("GET", `v1/jobs/${mine.id}/reproduce`, {accept: "*/*"})).text()};
    } catch (e) {
        mine.given = {problem: e};
    }
    invalidate();
}

/* {path, body}, with the job's own inputs; or null. */
function request() {
    const sent = remembered(here.id), script = here.given?.script;

    return sent ? {path: "v1/jobs", body: sent} : script && requestOf(script, here.job, groupOf(here.job));
}

/* ---- what can be done ---- */

async function act(name, doing) {
    const mine = here;

    mine.acting = name;
    mine.problem = null;
    invalidate();
    try {
        await doing();
    } catch (e) {
        mine.problem = e;
    }
    mine.acting = null;
    invalidate();
}

const cancel = () => act("cancel", async () => tellJob(await post(`v1/jobs/${here.id}/cancel`)));

const forget = () => act("delete", async () => {
    const id = here.id;

    await remove(`v1/jobs/${id}`);
    tellForgotten(id);
    announce("Job deleted");
    go(["jobs"]);
});

const again = () => act("again", async () => {
    const {path, body} = request(), job = await post(path, body);

    if (path === "v1/jobs")
        rememberBody(job.id, body);
    tellJob(job);
    go(["jobs", job.id]);
});

/* With what it was given, if the service has kept that. */
const showScript = () => act("script", async () => {
    const mine = here;

    mine.script = mine.given?.script ?? await (await ask("GET", `v1/jobs/${mine.id}/reproduce`, {accept: "*/*"})).text();
});

/* A link would carry no token. */
const saveTrace = () => act("trace", async () => {
    const answer = await ask("GET", `v1/trace?jobs=${here.id}`, {accept: "*/*"});
    const link = document.createElement("a");

    link.href = URL.createObjectURL(new Blob([await answer.text()], {type: "application/json"}));
    link.download = `${here.id}.trace.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    announce("Saved: open it at ui.perfetto.dev, or in chrome://tracing");
});

function actions(job) {
    const button = (name, label, doing, what = "") => h("button", {key: name, type: "button", class: `button ${what}`, disabled: here.acting !== null, onclick: doing}, label);

    return [
        mayAct() && request() && button("again", "Run again", again),
        mayAct() && !request() && job.dtype && (here.given?.problem || here.given?.script) && button("samples", "Try it with samples", () => go(["playground"], {like: here.id})),
        mayAct() && !over(job) && button("cancel", here.acting === "cancel" ? "Stopping…" : "Cancel", cancel, "is-danger"),
        mayAct() && over(job) && button("delete", "Delete", () => confirmThen("Delete this job and its outputs?", "Delete it", forget), "is-danger"),
    ];
}

/* ---- what one sees ---- */

/* A barrier. */
const movesNothing = (job) => opOf(job.op)?.gives === "none";

function summary(job) {
    const p = job.parameters ?? {};

    return card("What was asked", {id: "asked"}, facts([
        ["Operation", job.op],
        ["Group", job.group ? h("a", {href: href(["jobs"], {group: job.group})}, job.group) : "a list of ranks", " ",
         h("span", {class: "rank-line is-inline"}, job.ranks.slice(0, 24).map((r) => rankChip(r)), job.ranks.length > 24 ? "…" : null)],
        ["Inputs", movesNothing(job) ? "none" : job.input_shape === undefined ? job.dtype ?? "not known yet" : job.dtype ? `${job.dtype}, ${shape(job.input_shape)} each` : "not known yet"],
        ...Object.entries(p).map(([name, v]) => [name, name === "timeout" ? `${v} s` : String(v)]),
        job.label ? ["Label", h("a", {href: href(["jobs"], {label: job.label}), class: "label"}, job.label)] : null,
        job.seq !== undefined ? ["Called", `by its ranks, their call number ${job.seq}`] : null,
        job.priority ? ["Priority", String(job.priority)] : null,
        job.stream ? ["Stream", String(job.stream)] : null,
        job.resident ? ["Outputs", "stay on their ranks' devices"] : null,
        job.owner ? ["Owner", job.owner] : null,
        job.parent ? ["Gradient of", h("a", {href: href(["jobs", job.parent])}, job.parent)] : null,
        job.waits_for?.length ? ["Takes from", job.waits_for.map((id) => h("a", {key: id, href: href(["jobs", id])}, id))] : null,
        ["Received", clock(job.timeline.received_at)],
        job.attempts !== 1 ? ["Runs begun", count(job.attempts)] : null,
        job.algbw_GBps ? ["algbw, busbw", `${rate(job.algbw_GBps)}, ${jobRate(job.busbw_GBps)}`] : null,
    ]));
}

function missing(job) {
    if (job.state !== "waiting" || !job.missing?.length)
        return null;
    return h("div", {class: "problem is-warn", role: "status"},
        h("p", {class: "problem-title"}, `Missing: rank${job.missing.length > 1 ? "s" : ""} ${list(missingNames(job))}`),
        h("p", null, `${plural(job.arrived?.length ?? 0, "rank")} of ${job.ranks.length} ${job.arrived?.length === 1 ? "has" : "have"} called ${job.op}. The job begins when the last one has; `,
          `after ${job.parameters?.timeout ?? 60} s without it, all who came are told who was missing.`));
}

function outputValues(output) {
    if (output.data !== undefined)
        return flatten([output.data]);
    return here.firsts.get(output.tensor);
}

function output(o, rank, all) {
    const values = o && outputValues(o);

    return h("li", {key: rank, class: "output", vars: rankHue(rank)}, h("h3", null, all ? "Every rank" : [rankChip(rank), ` Rank ${rank}`]),
        !o ? h("p", {class: "quiet"}, "gets nothing") : [
            describe(o),
            values instanceof Error ? h("p", {class: "is-warn"}, values.detail) : values ? [preview(o.shape, values), figures(values, elements(o.shape))] : h("p", {class: "quiet"}, "…"),
        ]);
}

function outputs(job) {
    if (!job.outputs || movesNothing(job))
        return null;
    const alike = job.outputs.length > 1 && job.outputs.every((o) => o && o.tensor === job.outputs[0]?.tensor);
    const shown = alike ? job.outputs.slice(0, 1) : here.all ? job.outputs : job.outputs.slice(0, RANKS);

    return card("Outputs", {id: "outputs", wide: true},
        h("ul", {class: `outputs${alike ? " is-one" : ""}`}, shown.map((o, rank) => output(o, rank, alike))),
        !alike && job.outputs.length > shown.length && h("button", {type: "button", class: "button", onclick: () => { here.all = true; invalidate(); }}, `Show all ${job.outputs.length} ranks`));
}

/* Why there is nothing to copy. */
function notKept(job) {
    if (!over(job))
        return "Once it has ended, what it was given is here to copy.";
    return here.given?.problem ? `Its inputs are not kept: ${here.given.problem.detail}` : "…";
}

function copies(job) {
    const asked = request(), script = here.given?.script, button = (label, doing) => h("button", {key: label, type: "button", class: "button", disabled: here.acting !== null, onclick: doing}, label);
    const curl = asked ? asCurl(asked.body, asked.path) : script;
    const files = !asked && script?.includes(" FILE...");

    return card("The same by hand", {id: "by-hand", wide: true, actions: curl ? copyButtons(curl, asked && asPython(asked.body, {dtype: job.dtype, shape: job.input_shape})) : h("span", {class: "quiet"}, notKept(job))},
        files && h("p", {class: "quiet"}, "Its inputs are not kept, being larger than 4 KiB and deleted since: this script takes them as files of raw bytes, one a rank that gives."),
        curl && code(curl, "curl"),
        here.script && asked && code(here.script, "script"),
        over(job) && h("div", {class: "row"}, asked && !here.script && button("Script that repeats it", showScript), button("Trace for Perfetto", saveTrace)));
}

export function view() {
    const job = here?.job;

    if (!job)
        return [head("Job"), here?.problem ? problemBox(here.problem) : loading(), h("p", null, h("a", {href: href(["jobs"])}, "All jobs"))];
    return [
        head([job.op, " ", pill(job.state)], h("span", {class: "id"}, job.id, copyButton(job.id, "id")), actions(job)),
        problemBox(here.problem),
        missing(job),
        job.error && problemBox(job.error),
        h("div", {class: "columns is-wide-left"}, card("Timeline", {id: "timeline"}, timeline(job)), summary(job)),
        outputs(job),
        copies(job),
    ];
}
