/* playground.js - a small collective, with each rank's input and output side by side. */
import {announce, invalidate} from "../app.js";
import {getExact, post} from "../api.js";
import {h} from "../dom.js";
import {duration, shape} from "../format.js";
import {card, code, copyButtons, head, loading, pill, problemBox, rankChip, rankHue, stateSays} from "../parts.js";
import {gives, rememberBody, sampleInput} from "../remember.js";
import {href, route} from "../router.js";
import {asCurl, asPython} from "../snippets.js";
import {mayAct, opOf, state, tellJob, worker} from "../state.js";
import {elements, flatten, preview} from "../tensor.js";

export const title = () => "Playground";

const MOST_RANKS = 16, WAIT_S = 60, SAMPLE = 256;
const OTHER = "(ranks)"; // no group has this name

const play = {op: null, group: "world", ranks: "", dtype: "float32", parameters: {}, dims: null, inputs: [], edited: false,
              each: false, busy: false, job: null, problem: null, calls: new Map()};
let asked = null; // the address that was taken over

/* ---- what is chosen ---- */

function op() {
    return opOf(play.op);
}

function ranks() {
    if (play.group === OTHER)
        return play.ranks.split(/[\s,]+/).filter(Boolean).map(Number);
    return play.group === "world" ? Array.from({length: state.service?.world_size ?? 0}, (_, r) => r) : state.groups.find((g) => g.name === play.group)?.ranks ?? [];
}

/* Samples, unless a person has written something else. */
function fill(force) {
    const n = ranks().length, dims = play.dims ?? [Math.max(n, 2)];

    if (force)
        play.edited = false;
    if (play.edited && play.inputs.length >= n)
        return;
    play.inputs = Array.from({length: Math.min(n, MOST_RANKS)}, (_, r) => play.edited && play.inputs[r] !== undefined
        ? play.inputs[r] : JSON.stringify(sampleInput(dims, play.dtype, r)));
}

function clear() {
    play.job = play.problem = null;
    play.calls.clear();
}

function choose(changes) {
    Object.assign(play, changes);
    const o = op();

    if (o && !o.dtypes.includes(play.dtype))
        play.dtype = o.dtypes.includes("int32") ? "int32" : o.dtypes[0];
    play.parameters = Object.fromEntries((o?.parameters ?? []).map((name) => [name, play.parameters[name] ?? (name === "dst" ? "1" : "0")]));
    if (play.group === OTHER && !play.ranks)
        play.ranks = Array.from({length: Math.min(state.service?.world_size ?? 2, 8)}, (_, r) => r).join(", ");
    clear();
    fill();
    invalidate();
}

/* As the address says: ?op=, ?group=, or ?like= another job. */
export function enter() {
    if (asked === location.hash)
        return;
    asked = location.hash;
    const {like, op: name, group} = route.query;

    if (like)
        takeOver(like);
    else if (name || group)
        choose({op: name ?? play.op, group: group ?? play.group, edited: false, dims: null});
}

async function takeOver(id) {
    try {
        const job = await getExact(`v1/jobs/${encodeURIComponent(id)}?data=0`);
        const {timeout: _, ...parameters} = job.parameters ?? {};

        play.parameters = Object.fromEntries(Object.entries(parameters).map(([k, v]) => [k, String(v)]));
        choose({op: job.op, group: job.group ?? OTHER, ranks: job.ranks.join(", "), dtype: job.dtype ?? "float32", edited: false,
                dims: job.input_shape && elements(job.input_shape) <= SAMPLE ? job.input_shape : null});
    } catch (e) {
        play.problem = e;
        invalidate();
    }
}

/* ---- what is sent ---- */

function fault(text) {
    try {
        JSON.parse(text);
        return null;
    } catch {
        return "This is no JSON: a list of numbers is [1, 2], of lists [[1, 2], [3, 4]].";
    }
}

function settings() {
    const p = Object.entries(play.parameters).map(([name, v]) => `${JSON.stringify(name)}:${Number(v)}`);

    return [`"op":${JSON.stringify(play.op)}`, ...(op().dtypes.length && op().gives !== "none" ? [`"dtype":${JSON.stringify(play.dtype)}`] : []), ...p];
}

/* Inputs go as they are written: a number that a double cannot hold keeps its digits. */
function body() {
    const group = play.group === OTHER ? JSON.stringify(ranks()) : JSON.stringify(play.group);
    const inputs = ranks().map((_, r) => gives(op(), r, play.parameters) ? play.inputs[r].trim() : "null");

    return `{${settings().join(",")},"group":${group},"inputs":[${inputs.join(",")}]}`;
}

function faulty() {
    return ranks().some((_, r) => gives(op(), r, play.parameters) && fault(play.inputs[r] ?? ""));
}

async function run() {
    if (play.busy || faulty())
        return;
    const text = body();

    clear();
    play.busy = true;
    invalidate();
    try {
        play.job = await post(`v1/jobs?wait=${WAIT_S}`, text);
        rememberBody(play.job.id, text);
        tellJob({...play.job});
        announce(stateSays(play.job.state));
    } catch (e) {
        play.problem = e;
    }
    play.busy = false;
    invalidate();
}

async function call(r) {
    const give = gives(op(), r, play.parameters) ? `,"input":${play.inputs[r].trim()}` : "";
    const mine = {waits: true};

    play.calls.set(r, mine);
    invalidate();
    try {
        const answer = await post(`v1/groups/${encodeURIComponent(play.group)}/ranks/${r}/calls`, `{${callSettings(r).join(",")}${give}}`);

        Object.assign(mine, {waits: false, output: answer.output, job: answer.job});
        announce(`Rank ${r} has its answer`);
    } catch (e) {
        Object.assign(mine, {waits: false, problem: e});
    }
    invalidate();
}

/* A call of one rank names the other rank alone. */
function callSettings(r) {
    if (!("src" in play.parameters))
        return settings();
    const {src, dst} = play.parameters, other = r === Number(src) ? `"dst":${Number(dst)}` : `"src":${Number(src)}`;

    return [`"op":${JSON.stringify(r === Number(src) ? "remote_send" : "remote_recv")}`, `"dtype":${JSON.stringify(play.dtype)}`, other];
}

/* ---- what one sees ---- */

function option(value, text) {
    return h("option", {key: value, value}, text ?? value);
}

function choices() {
    const groups = [...new Set(["world", ...state.groups.map((g) => g.name)])];

    return h("div", {class: "filters"},
        h("label", {class: "field"}, h("span", null, "Operation"), h("select", {name: "op", value: play.op, onchange: (e) => choose({op: e.target.value})}, state.service.ops.map((o) => option(o.name)))),
        h("label", {class: "field"}, h("span", null, "Group"), h("select", {name: "group", value: play.group, onchange: (e) => choose({group: e.target.value, dims: null, edited: false})},
            groups.map((g) => option(g)), option(OTHER, "other ranks …"))),
        play.group === OTHER && h("label", {class: "field"}, h("span", null, "World ranks in order"), h("input", {name: "ranks", value: play.ranks, inputmode: "numeric", oninput: (e) => choose({ranks: e.target.value})})),
        h("label", {class: "field"}, h("span", null, "dtype"), h("select", {name: "dtype", value: play.dtype, disabled: op().gives === "none", onchange: (e) => choose({dtype: e.target.value})}, op().dtypes.map((d) => option(d)))),
        Object.keys(play.parameters).map((name) => h("label", {key: name, class: "field is-short"}, h("span", null, name), h("input", {type: "number", name, value: play.parameters[name],
            oninput: (e) => choose({parameters: {...play.parameters, [name]: e.target.value}})}))),
        h("fieldset", {class: "segments"}, h("legend", {class: "off-screen"}, "Who calls"), [[false, "all ranks at once"], [true, "rank by rank"]].map(([each, text]) =>
            h("label", {key: text, class: play.each === each ? "is-on" : ""}, h("input", {type: "radio", name: "each", checked: play.each === each, disabled: each && play.group === OTHER,
                onchange: () => choose({each})}), text))));
}

function input(r) {
    if (!gives(op(), r, play.parameters))
        return h("p", {class: "quiet gives-nothing"}, "gives nothing");
    const wrong = fault(play.inputs[r] ?? "");

    return h("label", {class: "field is-wide"}, h("span", null, `Input of rank ${r}`),
        h("textarea", {class: "number", name: `input-${r}`, rows: 3, spellcheck: "false", value: play.inputs[r] ?? "", "aria-invalid": wrong ? "true" : null, onkeydown: submitKey,
                       oninput: (e) => { play.inputs[r] = e.target.value; play.edited = true; invalidate(); }}),
        wrong && h("small", {class: "is-bad"}, wrong));
}

function submitKey(e) {
    if (e.key !== "Enter" || !(e.ctrlKey || e.metaKey) || play.each)
        return;
    e.preventDefault();
    run();
}

function shown(output) {
    return output ? [h("p", {class: "quiet"}, `${output.dtype}, ${shape(output.shape)}`), output.data === undefined ? null : preview(output.shape, flatten([output.data]))]
        : h("p", {class: "quiet"}, "gets nothing");
}

function result(r) {
    const mine = play.calls.get(r);

    if (!play.each)
        return play.job?.outputs ? shown(play.job.outputs[r]) : h("p", {class: "quiet"}, play.busy ? "…" : "not run yet");
    if (!mine)
        return h("button", {type: "button", class: "button", disabled: gives(op(), r, play.parameters) && fault(play.inputs[r] ?? "") !== null, onclick: () => call(r)}, `Call as rank ${r}`);
    if (mine.waits)
        return h("p", {class: "is-warn", role: "status"}, "waits for the others …");
    return mine.problem ? problemBox(mine.problem) : shown(mine.output);
}

function rank(world, r) {
    const state = worker(world)?.state;

    return h("li", {key: r, class: "card play-rank", vars: rankHue(r)},
        h("h2", null, rankChip(r), ` Rank ${r}`, world !== r ? h("small", {class: "quiet"}, ` world ${world}`) : null, state && !["ready", "busy"].includes(state) ? pill(state) : null),
        input(r),
        h("div", {class: "play-output", role: "group", "aria-label": `Output of rank ${r}`}, h("span", {class: "field-name", "aria-hidden": "true"}, `Output of rank ${r}`), result(r)));
}

/* The job that the calls so far belong to, while it waits. */
function open() {
    return play.each && [...play.calls.values()].some((c) => c.waits) ? state.waiting.rows.find((j) => j.group === play.group && j.arrived) : null;
}

function after() {
    const job = play.job ?? open(), done = [...play.calls.values()].find((c) => c.job);

    return h("div", {class: "row play-after", role: "status"},
        job && [pill(job.state), h("a", {href: href(["jobs", job.id])}, "Its timeline"), play.job && h("span", {class: "quiet number"}, duration(job.timeline.total_us)),
                job.missing?.length ? h("strong", {class: "is-warn"}, `missing: ${job.missing.join(", ")}`) : null],
        !job && done && h("a", {href: href(["jobs", done.job])}, "Its timeline"));
}

function board(all) {
    return h("form", {class: "play", onsubmit: (e) => { e.preventDefault(); run(); }},
        card(null, {}, h("p", {class: "lead"}, op().sentence), choices(),
          h("div", {class: "row"},
            !play.each && h("button", {class: "button is-main", disabled: play.busy || faulty()}, play.busy ? "Running…" : "Run"),
            h("button", {type: "button", class: "button", onclick: () => { play.dims = null; clear(); fill(true); invalidate(); }}, "Sample inputs"),
            !play.each && h("span", {class: "quiet keys"}, h("kbd", null, "Ctrl"), " ", h("kbd", null, "Enter"), " runs it"), after())),
        problemBox(play.problem), play.job?.error && problemBox(play.job.error),
        h("ul", {class: "play-grid"}, all.map(rank)));
}

function byHand() {
    const text = body();

    return card("The same by hand", {id: "by-hand", actions: copyButtons(asCurl(text), asPython(text))}, code(asCurl(text), "curl"));
}

export function view() {
    if (!state.service?.ops?.[0]?.parameters)
        return [head("Playground"), loading()];
    if (!mayAct())
        return [head("Playground"), h("p", {class: "empty"}, "A token of the role read may look, and run nothing.")];
    if (!op())
        choose({op: (opOf("all_reduce_sum") ?? state.service.ops[0]).name});
    const all = ranks();

    fill();
    if (all.length > MOST_RANKS && play.group === "world")
        choose({group: OTHER});
    return [
        head("Playground", "A small collective: what each rank gives, and what it gets."),
        all.length === 0 || all.length > MOST_RANKS ? h("form", {class: "play"}, card(null, {}, choices()), h("p", {class: "empty"}, all.length ? `At most ${MOST_RANKS} ranks fit here.` : "Which ranks?"))
            : board(all),
        all.length > 0 && all.length <= MOST_RANKS && !play.each && !faulty() && byHand(),
    ];
}
