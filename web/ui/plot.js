/* plot.js - lines over time, drawn by uPlot, which is loaded when the first plot is looked at. A server that was built with
 * WEB=none has no uPlot: then the latest figures stand alone. */
import {h} from "./dom.js";
import {invalidate} from "./app.js";

let library; // undefined: not asked for; null: there is none
const HEIGHT = 190;
const BINARY = Array.from({length: 50}, (_, i) => 2 ** i); // steps of an axis of bytes

function load() {
    if (library !== undefined)
        return;
    library = "loading";
    const script = document.createElement("script");
    script.src = "ui/uplot.js";
    script.onload = script.onerror = () => {
        library = window.uPlot ?? null;
        invalidate();
    };
    document.head.append(script);
}

function colour(el, name) {
    return getComputedStyle(el).getPropertyValue(name).trim();
}

/* A custom property may be a light-dark() pair; what the browser paints is one of them. */
function painted(el, name) {
    const probe = document.createElement("i");

    probe.style.color = `var(${name})`;
    probe.hidden = true;
    el.append(probe);
    const c = getComputedStyle(probe).color;
    probe.remove();
    return c;
}

function options(el, spec, show) {
    const ink = painted(el, "--ink-2"), line = painted(el, "--line"), font = `11px ${colour(document.documentElement, "--sans")}`;
    const axis = {stroke: ink, font, grid: {stroke: line, width: 1}, ticks: {stroke: line, width: 1, size: 4}};

    return {
        width: Math.max(120, el.clientWidth), height: HEIGHT, legend: {show: false}, cursor: {y: false, points: {size: 6}, drag: {x: false, y: false}},
        padding: [8, 26, 0, 0], scales: {y: {range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1]}},
        axes: [{...axis, size: 30, values: (_, ticks) => ticks.map((t) => new Date(t * 1000).toLocaleTimeString(undefined, {hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false})), space: 80},
               {...axis, size: 68, ...(spec.binary ? {incrs: BINARY} : {}), values: (_, ticks) => ticks.map(spec.format)}],
        series: [{}, ...spec.lines.map((l) => ({label: l.name, stroke: painted(el, l.colour), width: 1.75, spanGaps: true, points: {fill: painted(el, "--surface")},
                                                 fill: spec.lines.length === 1 ? `color-mix(in oklab, ${painted(el, l.colour)} 14%, transparent)` : undefined}))],
        hooks: {setCursor: [(u) => show(u.cursor.idx)]},
    };
}

/* ---- its life, beside the page's ---- */

const lives = new WeakMap();

function begin(el, spec) {
    const life = {spec, u: null, watch: new ResizeObserver(() => life.u?.setSize({width: Math.max(120, el.clientWidth), height: HEIGHT})), draw: null};

    life.draw = () => {
        life.u?.destroy();
        life.names = life.spec.lines.map((l) => l.name).join();
        life.u = new window.uPlot(options(el, life.spec, (i) => readOut(el, life.spec, i)), data(life.spec), el);
    };
    life.watch.observe(el);
    window.addEventListener("themechange", life.draw);
    lives.set(el, life);
    life.draw();
}

function data(spec) {
    return [spec.at, ...spec.lines.map((l) => l.values)];
}

function go(el, spec) {
    const life = lives.get(el);

    life.spec = spec;
    if (life.names !== spec.lines.map((l) => l.name).join())
        life.draw();
    else if (life.seen !== spec.at.at(-1))
        life.u.setData(data(spec));
    life.seen = spec.at.at(-1);
}

function end(el) {
    const life = lives.get(el);

    life.watch.disconnect();
    window.removeEventListener("themechange", life.draw);
    life.u.destroy();
}

/* The figures under the pointer, in place of the latest. */
function readOut(el, spec, i) {
    const shown = el.parentElement?.querySelectorAll("[data-line]") ?? [];

    shown.forEach((dd, k) => {
        const v = i === null || i === undefined ? dd.dataset.latest : spec.lines[k] ? spec.format(spec.lines[k].values[i]) : "";
        dd.firstChild.nodeValue = v;
    });
}

/* spec: {at: [s], lines: [{name, colour: "--x", values}], format(v), says: what the plot is}. */
export function plot(spec) {
    load();
    const last = (values) => spec.format(values.findLast((x) => x !== null));
    const legend = h("dl", {class: "legend"}, spec.lines.map((l) => h("div", {key: l.name}, h("dt", null, h("i", {class: "swatch", vars: {"--swatch": `var(${l.colour})`}}), l.name),
        h("dd", {"data-line": true, "data-latest": last(l.values)}, last(l.values)))));
    const says = `${spec.says}: ${spec.lines.map((l) => `${l.name} ${last(l.values)}`).join(", ")}`;

    if (library === null)
        return [h("p", {class: "quiet"}, "This server was built without the plots (WEB=none): these are the latest figures."), legend];
    if (library === "loading")
        return h("div", {key: "none", class: "plot is-empty"});
    const seen = spec.lines.some((l) => l.values.some((x) => x !== null));

    if (spec.at.length < 2 || !seen)
        return h("div", {key: "none", class: "plot is-empty"}, h("p", {class: "quiet"}, spec.at.length < 2 ? "Two looks make a line: it begins in a few seconds." : spec.empty));
    return [h("div", {key: "plot", class: "plot", role: "img", "aria-label": says, mount: (el) => begin(el, spec),
                      update: (el) => go(el, spec), unmount: end}), legend];
}
