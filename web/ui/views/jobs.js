/* jobs.js - all jobs, live: filtered by the service, searched in the page. */
import {invalidate} from "../app.js";
import {h} from "../dom.js";
import {count, plural} from "../format.js";
import {JobList} from "../joblist.js";
import {empty, head, loading, problemBox} from "../parts.js";
import {go, refine, route} from "../router.js";
import {firstJob} from "../snippets.js";
import {follow, state} from "../state.js";
import {jobTable} from "./jobtable.js";

export const title = () => "Jobs";

const STATES = ["waiting", "queued", "running", "succeeded", "failed", "cancelled"];
const FILTERS = ["state", "op", "group", "label"];
const SEARCH_JOBS = 10000; // that a search looks through

let list = null, unfollow = null, key = null;
let searching = false;
let typing = null;

function filter() {
    return Object.fromEntries(FILTERS.map((name) => [name, route.query[name]]).filter(([, v]) => v));
}

export function enter() {
    const wanted = JSON.stringify(filter());

    if (key === wanted)
        return;
    unfollow?.();
    key = wanted;
    list = new JobList(filter());
    unfollow = follow(list);
    list.reload().then(() => {
        invalidate();
        search();
    });
}

export function leave() {
    clearTimeout(typing);
    unfollow?.();
    list = unfollow = key = null;
    searching = false;
}

/* ---- search: in what is here, and on through older pages ---- */

function found(job, words) {
    const text = [job.id, job.op, job.group, job.owner, job.label, job.state, job.dtype, job.error?.code, job.error?.detail].join(" ").toLowerCase();

    return words.every((w) => text.includes(w));
}

function hits() {
    const words = (route.query.search ?? "").toLowerCase().split(/\s+/).filter(Boolean);

    return words.length ? list.rows.filter((job) => found(job, words)) : list.rows;
}

async function search() {
    if (searching)
        return;
    searching = true;
    while (list && route.query.search && !list.complete && !list.problem && list.rows.length < SEARCH_JOBS && hits().length < 50) {
        await list.more(500);
        invalidate();
    }
    searching = false;
    invalidate();
}

/* ---- what one sees ---- */

function set(changes) {
    refine({...route.query, ...changes});
    if (changes.search)
        search();
}

function soon(changes) {
    clearTimeout(typing);
    typing = setTimeout(() => set(changes), 250);
}

function stateTabs() {
    const now = route.query.state ?? "";

    return h("fieldset", {class: "segments"}, h("legend", {class: "off-screen"}, "State"), ["", ...STATES].map((s) =>
        h("label", {key: s, class: now === s ? "is-on" : ""},
          h("input", {type: "radio", name: "state", value: s, checked: now === s, onchange: () => set({state: s})}), s || "all")));
}

function select(name, label, options) {
    return h("label", {class: "field"}, h("span", null, label), h("select", {name, value: route.query[name] ?? "", onchange: (e) => set({[name]: e.target.value})},
        h("option", {value: ""}, "any"), options.map((o) => h("option", {key: o, value: o, selected: o === route.query[name]}, o))));
}

function filters() {
    const groups = ["world", ...state.groups.map((g) => g.name).filter((g) => g !== "world")];

    return h("form", {class: "filters", role: "search", onsubmit: (e) => e.preventDefault()},
        h("label", {class: "field is-wide"}, h("span", null, "Search"), h("input", {type: "search", name: "search", value: route.query.search ?? "", autocomplete: "off", spellcheck: "false",
            placeholder: "id, operation, label, error …", oninput: (e) => soon({search: e.target.value}), onkeydown: openId})),
        select("op", "Operation", state.service?.ops?.map((op) => op.name) ?? []),
        select("group", "Group", [...new Set(groups)]),
        h("label", {class: "field"}, h("span", null, "Label, exactly"), h("input", {type: "text", name: "label", value: route.query.label ?? "", autocomplete: "off", spellcheck: "false",
            oninput: (e) => soon({label: e.target.value})})));
}

/* A whole id is a place to go to. */
function openId(e) {
    const text = e.target.value.trim();

    if (e.key !== "Enter" || !/^j_[0-9A-HJKMNP-TV-Z]{26}$/.test(text))
        return;
    clearTimeout(typing); // it would lead back
    go(["jobs", text]);
}

function nothing(words) {
    if (list.problem)
        return null;
    if (words)
        return searching ? loading() : empty("No such job", `None of ${count(list.rows.length)} jobs has "${words}" in its id, operation, group, label or error.`);
    if (Object.keys(list.filter).length)
        return empty("No such job now", "None fits these filters. The list is live: one that does will show here by itself.");
    return empty("No job yet", "Run one in the playground, or send one from a terminal:", firstJob(state.service?.world_size ?? 2));
}

function foot(shown, words) {
    const all = words ? `${count(shown)} found in ${plural(list.rows.length, "job")}` : plural(shown, "job");

    return h("footer", {class: "list-foot"}, h("span", {class: "quiet", role: "status"}, `${all}${list.complete ? ", which are all" : ""}`),
             !list.complete && h("button", {type: "button", class: "button", disabled: list.loading || searching,
                                            onclick: () => list.more(500).then(invalidate)}, list.loading || searching ? "Loading…" : "Show older"));
}

export function view() {
    const words = route.query.search?.trim(), jobs = hits();

    return [
        head("Jobs", "Newest first, as it happens."),
        stateTabs(), filters(),
        problemBox(list.problem),
        !list.loaded && !list.problem ? loading() : jobs.length ? [jobTable(jobs, "Jobs, newest first")] : nothing(words),
        list.loaded && jobs.length ? foot(jobs.length, words) : null,
    ];
}
