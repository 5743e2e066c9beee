/* stream.js - follows /v1/events: one stream for the whole page.
 *
 * It is read with fetch, since EventSource can send no Authorization header. A stream that breaks goes on after the last event
 * that was seen (Last-Event-ID). Where none comes through (a proxy that holds back what it should pass on), the page is told to
 * poll, and the stream is tried again now and then.
 */
import {ask} from "./api.js";

const FIRST_MS = 5000;    // the service says something at once
const SILENT_MS = 40000;  // and at least every 15 s after
const BATCH_MS = 120;     // events of so long are shown together
const HIDDEN_MS = 60000;  // a page that nobody sees follows no longer than this
const AGAIN_MS = 60000;   // while polling, the stream is tried as often
const WAIT_MS = [250, 1000, 2000, 5000];

const REFUSED = new Set([401, 403]);

let last = null;     // the id of the last event that was seen
let failures = 0;
let polling = false;
let controller = null;
let timer = null, hiddenTimer = null;
let tell = null;     // {opened(), gap(), events([[name, data]]), mode(word)}

/* "live", "polling", "paused" or "offline" goes to tell.mode(). */
export function streamStart(handlers) {
    tell = handlers;
    document.addEventListener("visibilitychange", onVisibility);
    connect();
}

/* Anew, as somebody else. */
export function streamRestart() {
    last = null;
    failures = 0;
    reconnect();
}

function reconnect() {
    clearTimeout(timer);
    controller?.abort();
    connect();
}

function onVisibility() {
    clearTimeout(hiddenTimer);
    if (document.hidden)
        hiddenTimer = setTimeout(() => {
            clearTimeout(timer);
            controller?.abort();
            controller = null;
            tell.mode("paused");
        }, HIDDEN_MS);
    else if (!controller)
        reconnect();
}

function later(ms) {
    clearTimeout(timer);
    timer = setTimeout(connect, ms);
}

async function connect() {
    const mine = controller = new AbortController();
    const watch = silence(mine);

    try {
        const answer = await ask("GET", "v1/events", {accept: "text/event-stream", signal: mine.signal,
                                                      more: last ? {"Last-Event-ID": last} : {}});

        if (!(answer.headers.get("Content-Type") ?? "").startsWith("text/event-stream"))
            throw new Error("this is no stream of events");
        await read(answer.body.getReader(), watch);
        failed(mine, true);
    } catch (e) {
        failed(mine, watch.spoke, e);
    } finally {
        watch.stop();
    }
}

/* Aborts a stream that says nothing. */
function silence(mine) {
    let t = setTimeout(() => mine.abort(), FIRST_MS);

    return {
        spoke: false,
        heard() {
            this.spoke = true;
            clearTimeout(t);
            t = setTimeout(() => mine.abort(), SILENT_MS);
        },
        stop: () => clearTimeout(t),
    };
}

function failed(mine, spoke, error) {
    if (controller !== mine) // another has taken over, or the page is hidden
        return;
    failures = spoke ? 1 : failures + 1;
    if (REFUSED.has(error?.status)) {
        tell.mode("refused");
        return; // until there is a token
    }
    if (spoke) {
        tell.mode("connecting");
        later(WAIT_MS[0]);
        return;
    }
    if (error?.code === "unreachable") { // polling would not get through either
        tell.mode("offline");
        later(WAIT_MS[Math.min(failures, WAIT_MS.length) - 1]);
        return;
    }
    polling = true;
    tell.mode("polling");
    later(AGAIN_MS);
}

async function read(reader, watch) {
    const decoder = new TextDecoder();
    const batch = batcher();
    let rest = "";

    for (;;) {
        const {value, done} = await reader.read();

        if (done) {
            batch.flush();
            return;
        }
        if (!watch.spoke) {
            polling = false;
            tell.mode("live");
            tell.opened(last !== null);
        }
        watch.heard();
        rest += decoder.decode(value, {stream: true});
        const pieces = rest.split("\n\n");
        rest = pieces.pop();
        pieces.forEach((piece) => event(piece, batch));
    }
}

/* Events are handed on a few times a second, so that a burst is one change of the page. */
function batcher() {
    let events = [], t = null;

    const flush = () => {
        clearTimeout(t);
        t = null;
        if (events.length) {
            const seen = events;
            events = [];
            tell.events(seen);
        }
    };
    return {
        add(e) {
            events.push(e);
            t ??= setTimeout(flush, BATCH_MS);
        },
        flush,
    };
}

function event(text, batch) {
    let name = "message", id = null, data = "";

    for (const line of text.split("\n")) {
        if (line.startsWith("event: "))
            name = line.slice(7);
        else if (line.startsWith("id: "))
            id = line.slice(4);
        else if (line.startsWith("data: "))
            data += line.slice(6);
    }
    if (!data)
        return; // a heartbeat
    if (name === "gap") {
        last = null;
        batch.flush();
        tell.gap();
        return;
    }
    last = id ?? last;
    batch.add([name, JSON.parse(data)]);
}

/* For those who poll. */
export function streamIsPolling() {
    return polling;
}
