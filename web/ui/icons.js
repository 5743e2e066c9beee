/* icons.js - the few pictures of the page, drawn with lines. */
import {h} from "./dom.js";

const PATHS = {
    overview: ["M4 13h6V4H4zM14 20h6V4h-6zM4 20h6v-3H4z"],
    jobs: ["M8 6h12M8 12h12M8 18h12", "M4 6h.01M4 12h.01M4 18h.01"],
    workers: ["M7 7h10v10H7z", "M10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4"],
    groups: ["M9 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM3.5 19a5.5 5.5 0 0 1 11 0", "M15.5 5.3a3 3 0 0 1 0 5.4M17 13.9a5.5 5.5 0 0 1 3.5 5.1"],
    playground: ["M7 5l11 7-11 7z"],
    metrics: ["M4 20V4", "M4 20h16", "M7 15l4-5 3 3 5-7"],
    sun: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z", "M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19"],
    moon: ["M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z"],
    copy: ["M9 9h11v11H9z", "M5 15H4V4h11v1"],
    check: ["M4 12l5 5L20 6"],
    book: ["M5 4h9a4 4 0 0 1 4 4v12H8a3 3 0 0 1-3-3z", "M5 17a3 3 0 0 1 3-3h10"],
    key: ["M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8z", "M11 12l9-9M16 7l3 3"],
};

export function icon(name) {
    return h("svg", {class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false"},
             PATHS[name].map((d) => h("path", {d})));
}

/* Four ranks that end together. */
export function mark() {
    return h("svg", {class: "mark", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false"},
             [[3, 11], [8, 5], [13, 14], [18, 8]].map(([x, y]) => h("rect", {x, y, width: 3, height: 20 - y, rx: 1.5})),
             h("rect", {x: 2, y: 21.4, width: 20, height: 1.6, rx: 0.8, class: "mark-line"}));
}
