/* api.js - requests to the service, relative to the page, so that they work under a prefix; and what it answers when it will not. */
import {tokenGet} from "./token.js";

/* Where the page stands, with a slash at its end. */
export const base = new URL("./", location.origin + location.pathname);

/* What the service said (RFC 9457), or what kept us from asking it. */
export class Problem extends Error {
    constructor(document, status) {
        super(document.detail || document.title || `status ${status}`);
        Object.assign(this, {status, code: document.code ?? "", title: document.title ?? "", detail: this.message,
                             pointer: document.pointer, ranks: document.ranks, type: document.type});
    }
}

/* Called with each 401. */
export const unauthorized = {tell: () => {}};

export function query(parameters) {
    const q = new URLSearchParams();

    for (const [name, value] of Object.entries(parameters))
        if (value !== undefined && value !== null && value !== "")
            q.set(name, value);
    return q.size ? `?${q}` : "";
}

export function headers(more) {
    const token = tokenGet();

    return {...(token ? {Authorization: `Bearer ${token}`} : {}), ...more};
}

/* The answer of fetch, if its status is good; otherwise throws a Problem. */
export async function ask(method, path, {body, type, accept = "application/json", more, signal} = {}) {
    let answer;

    try {
        answer = await fetch(new URL(path, base), {
            method, body, signal, cache: "no-store", credentials: "same-origin", redirect: "error",
            headers: headers({Accept: accept, ...(type ? {"Content-Type": type} : {}), ...more}),
        });
    } catch (e) {
        if (e.name === "AbortError")
            throw e;
        throw new Problem({code: "unreachable", title: "No answer",
                           detail: "The service does not answer. Is it running, and is the network there?"}, 0);
    }
    if (!answer.ok)
        throw await problem(answer);
    return answer;
}

async function problem(answer) {
    const text = await answer.text().catch(() => "");
    let document = {};

    try {
        document = JSON.parse(text);
    } catch { /* a proxy's page */ }
    if (!document?.code)
        document = {code: "", title: "Not tutti's answer",
                    detail: `Something between this page and the service answered with status ${answer.status}.`};
    if (answer.status === 401)
        unauthorized.tell();
    return new Problem(document, answer.status);
}

/* Integers that a double cannot hold stay the text that came, where the browser tells it. */
function exact(name, value, context) {
    return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source ?? value : value;
}

export async function get(path, options) {
    return (await ask("GET", path, options)).json();
}

export async function getExact(path, options) {
    return JSON.parse(await (await ask("GET", path, options)).text(), exact);
}

/* body: an object, or text that is JSON already. */
export async function post(path, body, options) {
    const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
    const answer = await ask("POST", path, {body: text, type: text === undefined ? undefined : "application/json", ...options});

    return JSON.parse(await answer.text(), exact);
}

export async function remove(path) {
    await ask("DELETE", path);
}
