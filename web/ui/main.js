/* main.js - the frame around every page, and which page it is. */
import {appStart, invalidate, spoken} from "./app.js";
import {h, render} from "./dom.js";
import {icon, mark} from "./icons.js";
import {confirmDialog, problemBox} from "./parts.js";
import {href, route, routerStart} from "./router.js";
import {signInAgain, signOut, state, stateStart} from "./state.js";
import {tokenGet} from "./token.js";
import * as groups from "./views/groups.js";
import * as job from "./views/job.js";
import * as jobs from "./views/jobs.js";
import * as metrics from "./views/metrics.js";
import * as overview from "./views/overview.js";
import * as playground from "./views/playground.js";
import {signInView} from "./views/signin.js";
import * as workers from "./views/workers.js";

const PAGES = [["overview", "Overview", overview], ["jobs", "Jobs", jobs], ["workers", "Workers", workers],
               ["groups", "Groups", groups], ["playground", "Playground", playground], ["metrics", "Metrics", metrics]];

const MODES = {
    connecting: ["Connecting", "The stream of events begins."],
    live: ["Live", "Every change comes as it happens."],
    polling: ["Polling", "Something in between holds the stream of events back; the page asks every two seconds."],
    paused: ["Paused", "The page was hidden; it goes on when it is seen."],
    offline: ["Offline", "The service does not answer; the page tries again."],
    refused: ["Locked", "The service asks for a token."],
};

const root = document.getElementById("app");
let view = null;

function page() {
    const [first = "overview", second] = route.path;

    return first === "jobs" && second ? job : PAGES.find(([name]) => name === first)?.[2] ?? overview;
}

function current(name) {
    return (route.path[0] ?? "overview") === name ? "page" : null;
}

function nav() {
    return h("nav", {class: "nav", "aria-label": "Pages"}, PAGES.map(([name, text]) =>
        h("a", {key: name, href: href(name === "overview" ? [] : [name]), "aria-current": current(name)}, icon(name), h("span", null, text),
          name === "jobs" && state.waiting.rows.length > 0 && h("b", {class: "badge", title: "waiting"}, String(state.waiting.rows.length), h("span", {class: "off-screen"}, " waiting")))));
}

function side() {
    const [word, sentence] = MODES[state.mode], account = state.service?.account, dark = window.tuttiTheme.dark();

    return h("header", {class: "side"},
        h("a", {class: "skip", href: location.hash || "#/", onclick: (e) => { e.preventDefault(); skip(); }}, "To the content"),
        h("a", {class: "brand", href: href([])}, mark(), "tutti"), nav(),
        h("div", {class: "side-foot"},
          h("p", {class: `mode is-${state.mode}`, title: sentence, role: "status", "data-mode": state.mode}, h("i", {class: "dot", "aria-hidden": "true"}), word),
          account && h("p", {class: "who"}, h("span", null, account.name, h("small", {class: "quiet"}, ` ${account.role}`)),
                       tokenGet() && h("button", {type: "button", class: "button is-small", onclick: signOut}, "Leave")),
          h("div", {class: "row"},
            h("a", {class: "button is-icon", href: state.service?.links?.docs ?? "openapi.yaml", "aria-label": "Documentation of the API", title: "Documentation of the API"}, icon("book")),
            h("button", {type: "button", class: "button is-icon", "aria-label": dark ? "Light colours" : "Dark colours", title: dark ? "Light colours" : "Dark colours",
                         onclick: () => window.tuttiTheme.toggle()}, icon(dark ? "sun" : "moon")))));
}

function skip() {
    document.getElementById("title")?.focus();
}

function draw() {
    const p = page();

    document.title = `${p.title()} · tutti`;
    render(root,
        state.wantsToken ? signInView() : h("div", {class: "frame"},
            side(),
            h("main", {class: "main", id: "main", key: "main"},
              state.problem && state.problem.status !== 401 ? problemBox(state.problem, {title: "The service does not answer"}) : null,
              h("div", {class: "page", key: view === job ? route.path[1] : route.path[0] ?? ""}, p.view()))),
        confirmDialog(),
        h("p", {class: `toast${spoken.text ? " is-shown" : ""}`, role: "status", "aria-live": "polite"}, spoken.text));
}

function arrive(newToken) {
    const next = page(), same = next === view;

    if (newToken)
        signInAgain();
    if (!same)
        view?.leave?.();
    view = next;
    view.enter?.();
    draw();
    if (!same) { // who reads aloud, or goes by Tab, begins at the new page
        scrollTo(0, 0);
        skip();
    }
}

window.addEventListener("themechange", invalidate);
appStart(draw);
routerStart(arrive);
stateStart(invalidate);
view = page();
view.enter?.();
draw();
