/* state.js - what the page knows of the service, and how it stays true: events, and polling where none come through. */
import {ask, get, unauthorized} from "./api.js";
import {announce} from "./app.js";
import {JobList} from "./joblist.js";
import {sample, sampleJob} from "./samples.js";
import {streamIsPolling, streamRestart, streamStart} from "./stream.js";
import {tokenGet, tokenSet} from "./token.js";

const POLL_MS = 2000;       // lists, where no event comes
const METRICS_MS = 5000;    // gauges and counters, for the plots
const METRICS_OPEN_MS = 2000; // while they are looked at
const TICK_MS = 1000;       // clocks that run on the page

export const state = {
    mode: "connecting", // live, polling, paused, offline, refused
    wantsToken: false,  // the service asks who we are
    problem: null,      // why there is no service
    service: null,      // GET /v1
    workers: [],
    groups: [],
    metrics: null,
    skewMs: 0,          // the service's clock less ours
    plotsOpen: false,
    happened: [],       // to the ranks, while the page was open; the latest first
    recent: new JobList({}, {page: 50}),
    waiting: new JobList({state: "waiting"}, {page: 50}),
};

const lists = new Set([state.recent, state.waiting]);
const watchers = new Set(); // of single jobs: {id, job(doc), again()}
let changed = () => {};
let metricsTimer = null;

/* changed() whenever something is another. */
export function stateStart(onChange) {
    changed = onChange;
    unauthorized.tell = () => {
        state.wantsToken = true;
        changed();
    };
    streamStart({opened, gap: resync, events, mode});
    loadService();
    poll();
    pollMetrics();
    setInterval(changed, TICK_MS);
}

export function now() {
    return Date.now() + state.skewMs;
}

/* May whoever asks do more than look? */
export function mayAct() {
    return state.service?.account?.role !== "read";
}

export function opOf(name) {
    return state.service?.ops?.find((op) => op.name === name);
}

export function worker(rank) {
    return state.workers.find((w) => w.rank === rank);
}

/* Tries to be the token's; throws a Problem when the service does not take it. */
export async function signIn(token) {
    const before = tokenGet();

    tokenSet(token);
    try {
        state.service = await get("v1");
    } catch (e) {
        tokenSet(before);
        throw e;
    }
    state.wantsToken = false;
    streamRestart();
    resync();
    pollMetrics();
    changed();
}

export function signOut() {
    tokenSet(null);
    location.reload();
}

/* A token from the address, while the page was open. */
export function signInAgain() {
    loadService();
    streamRestart();
}

export function follow(list) {
    lists.add(list);
    return () => lists.delete(list);
}

export function watchJob(watcher) {
    watchers.add(watcher);
    return () => watchers.delete(watcher);
}

/* What this page did itself is seen at once, whatever the stream is at. */
export function tellJob(job) {
    lists.forEach((list) => list.apply(job));
    watchers.forEach((w) => w.id === job.id && w.job(job));
    changed();
}

export function tellForgotten(id) {
    lists.forEach((list) => list.forget(id));
    changed();
}

/* ---- what comes ---- */

async function loadService() {
    try {
        state.service = await get("v1");
        state.problem = null;
        state.wantsToken = false;
    } catch (e) {
        state.problem = e;
        if (e.status !== 401)
            setTimeout(loadService, 3000);
    }
    changed();
}

function mode(word) {
    const back = state.mode === "offline" && word !== "offline";

    state.mode = word;
    if (back)
        loadService();
    changed();
}

/* A stream that goes on where it broke tells what was missed; a new one does not. */
function opened(goesOn) {
    if (!goesOn || !state.recent.loaded)
        resync();
}

export async function resync() {
    await Promise.allSettled([loadWorkers(), loadGroups(), ...[...lists].map((list) => list.reload())]);
    watchers.forEach((w) => w.again());
    changed();
}

async function loadWorkers() {
    const workers = (await get("v1/workers")).workers;

    workers.forEach(noticed);
    state.workers = workers;
}

/* A rank that is lost comes back in a moment; that it was is to be seen for longer. */
function noticed(w) {
    const old = worker(w.rank), there = (x) => x.state === "ready" || x.state === "busy";

    if (!old)
        return;
    if (there(old) && (!there(w) || w.pid !== old.pid))
        happens(`Rank ${w.rank} was lost`, "bad");
    if (there(w) && (!there(old) || w.pid !== old.pid))
        happens(`Rank ${w.rank} is back`, "ok");
}

function happens(text, how) {
    state.happened.unshift({at: new Date(now()).toISOString(), text, how});
    state.happened.length = Math.min(state.happened.length, 12);
    announce(text);
}

export async function loadGroups() {
    const all = [];
    let next = null;

    do { // a few pages at most; who has more looks by name
        const page = await get("v1/groups?limit=500" + (next ? `&after=${encodeURIComponent(next)}` : ""));
        all.push(...page.groups);
        next = page.next;
    } while (next && all.length < 2000);
    state.groups = all;
    changed();
}

function events(batch) {
    for (const [name, data] of batch) {
        if (name === "job") {
            sampleJob(data);
            lists.forEach((list) => list.apply(data));
            watchers.forEach((w) => w.id === data.id && w.job(data));
        } else if (name === "worker")
            onWorker(data);
        else if (name === "group")
            onGroup(data);
    }
    changed();
}

function onWorker(w) {
    const i = state.workers.findIndex((x) => x.rank === w.rank);

    noticed(w);
    if (i >= 0)
        state.workers[i] = w;
    else
        state.workers.push(w);
    state.workers.sort((a, b) => a.rank - b.rank);
}

function onGroup(g) {
    const same = (x) => x.name === g.name && x.owner === g.owner;

    state.groups = state.groups.filter((x) => !same(x));
    if (!g.deleted)
        state.groups.unshift(g);
}

/* ---- polling ---- */

async function poll() {
    if (!document.hidden && !state.wantsToken && streamIsPolling())
        await resync();
    setTimeout(poll, POLL_MS);
}

/* Workers count while they work, which is no event. */
async function pollMetrics() {
    clearTimeout(metricsTimer);
    if (!document.hidden && !state.wantsToken) {
        try {
            const answer = await ask("GET", "v1/metrics");
            const skewMs = Date.parse(answer.headers.get("Date")) - Date.now();

            state.skewMs = Math.abs(skewMs) > 2000 ? skewMs : 0; // the header counts whole seconds
            state.metrics = await answer.json();
            await loadWorkers();
            sample(state.metrics, state.workers, streamIsPolling());
            changed();
        } catch { /* the stream says what is wrong */ }
    }
    metricsTimer = setTimeout(pollMetrics, state.plotsOpen ? METRICS_OPEN_MS : METRICS_MS);
}

/* Plots are looked at, or not any more. */
export function plotsOpen(open) {
    if (state.plotsOpen === open)
        return;
    state.plotsOpen = open;
    if (open)
        pollMetrics();
}
