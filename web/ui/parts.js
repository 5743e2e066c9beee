/* parts.js - the small things that every page is made of: pills, chips, code to copy, problems, empty places, dialogs. */
import {announce, invalidate} from "./app.js";
import {h} from "./dom.js";
import {ago, clock} from "./format.js";
import {icon} from "./icons.js";
import {now, worker} from "./state.js";

export function pill(state) {
    return h("span", {class: `pill is-${state}`}, h("i", {class: "dot", "aria-hidden": "true"}), state);
}

/* A colour a rank, the same on every page. */
export function rankHue(rank) {
    return {"--hue": String((250 + rank * 67) % 360)};
}

export function rankChip(rank, what = "") {
    return h("span", {class: `rank-chip ${what}`, vars: rankHue(rank)}, String(rank));
}

/* It may be broken at its underscores. */
export function opName(name) {
    return name.split(/(?<=_)/).flatMap((part, i) => i ? [h("wbr"), part] : [part]);
}

export function when(text) {
    return h("time", {datetime: text ?? "", title: clock(text)}, ago(text, now()));
}

export function head(title, lead, ...more) {
    return h("header", {class: "page-head"}, h("div", null, h("h1", {id: "title", tabindex: "-1"}, title),
                                               lead && h("p", {class: "lead"}, lead)),
             more.length ? h("div", {class: "page-actions"}, more) : null);
}

export function card(title, {actions, wide, id} = {}, ...kids) {
    return h("section", {class: `card${wide ? " is-wide" : ""}`, "aria-labelledby": id},
             title && h("header", {class: "card-head"}, h("h2", {id}, title), actions ? h("div", {class: "row"}, actions) : null), kids);
}

export function facts(rows, what = "") {
    return h("dl", {class: `facts ${what}`}, rows.filter(Boolean).map(([name, ...value]) =>
        h("div", {key: name}, h("dt", null, name), h("dd", null, value))));
}

/* ---- what to do when there is nothing, or something is wrong ---- */

export function empty(title, text, command) {
    return h("div", {class: "empty"}, h("p", {class: "empty-title"}, title), h("p", null, text), command ? code(command, "curl") : null);
}

export function problemBox(problem, {title} = {}) {
    if (!problem)
        return null;
    return h("div", {class: "problem", role: "alert"},
             h("p", {class: "problem-title"}, title ?? problem.title, problem.code ? h("code", null, problem.code) : null),
             h("p", null, problem.detail),
             problem.pointer ? h("p", {class: "quiet"}, "At ", h("code", null, problem.pointer)) : null,
             docLink(problem));
}

/* The document's type, where it leads to a page of this service. */
function docLink(problem) {
    const type = String(problem.type ?? "");
    const found = /(?:^|\/)(docs\/errors\/[a-z_]+)$/.exec(type);

    return found ? h("p", null, h("a", {href: found[1]}, "What this means, and what to do")) : null;
}

export function loading() {
    return h("div", {class: "loading", role: "status"}, "Loading…");
}

/* ---- to copy ---- */

async function copy(text, what) {
    try {
        await navigator.clipboard.writeText(text);
    } catch { // only secure pages have a clipboard
        const area = document.createElement("textarea");
        area.value = text;
        area.className = "off-screen";
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
    }
    announce(`${what} copied`);
}

export function copyButton(text, what, label) {
    return h("button", {type: "button", class: label ? "button" : "button is-icon", "aria-label": label ? null : `Copy ${what}`,
                        title: label ? null : `Copy ${what}`, onclick: () => copy(typeof text === "function" ? text() : text, what)},
             icon("copy"), label ?? null);
}

/* Of what is null there is none. */
export function copyButtons(curl, python) {
    return [curl && copyButton(curl, "curl", "Copy as curl"), python && copyButton(python, "Python", "Copy as Python")];
}

export function code(text, what = "text") {
    return h("div", {class: "code"}, h("pre", {tabindex: "0", "aria-label": what}, h("code", null, text)), copyButton(text, what));
}

/* ---- to ask ---- */

const asking = {open: false};

/* Asks before something that cannot be undone. */
export function confirmThen(question, verb, act) {
    Object.assign(asking, {open: true, question, verb, act, from: document.activeElement});
    invalidate();
}

function answered(yes) {
    const {act, from} = asking;

    asking.open = false;
    invalidate();
    if (yes)
        act();
    else
        from?.focus();
}

export function confirmDialog() {
    return asking.open && h("dialog", {class: "dialog", "aria-labelledby": "ask", mount: (el) => el.showModal(),
                                       oncancel: (e) => { e.preventDefault(); answered(false); }},
        h("p", {id: "ask"}, asking.question),
        h("div", {class: "row is-end"},
          h("button", {type: "button", class: "button", onclick: () => answered(false)}, "Keep it"),
          h("button", {type: "button", class: "button is-danger", onclick: () => answered(true)}, asking.verb)));
}

/* ---- one stop of the Tab key for a list, in which arrows move ---- */

export function roving(event) {
    const steps = {ArrowDown: 1, ArrowUp: -1, j: 1, k: -1};
    const items = [...event.currentTarget.querySelectorAll("[data-rove]")], at = items.indexOf(document.activeElement);

    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey)
        return;
    const to = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : at + (steps[event.key] ?? NaN);
    if (!items[to])
        return;
    event.preventDefault();
    items[at].tabIndex = -1;
    items[to].tabIndex = 0;
    items[to].focus();
}

/* For its mount and update: whoever comes by Tab finds one of the items. */
export function rovingOne(el) {
    const items = [...el.querySelectorAll("[data-rove]")];
    const one = items.find((x) => x === document.activeElement) ?? items.find((x) => x.tabIndex === 0) ?? items[0];

    for (const x of items)
        if (x.tabIndex !== (x === one ? 0 : -1))
            x.tabIndex = x === one ? 0 : -1;
}

/* As one would say it. */
export function stateSays(state) {
    return `The job ${{succeeded: "has succeeded", failed: "has failed", cancelled: "was cancelled"}[state] ?? `is ${state}`}`;
}

/* The ranks of a job, by name: who has come, who is missing and how that one's worker is. */
export function missingNames(job) {
    return (job.missing ?? []).map((r) => {
        const world = job.ranks[r], w = worker(world);
        const state = w && !["ready", "busy"].includes(w.state) ? `, whose worker is ${w.state}` : "";

        return `${r}${world === r ? "" : ` (rank ${world} of the world)`}${state}`;
    });
}
