/* format.js - numbers, durations, sizes and times as people read them. */
const whole = new Intl.NumberFormat("en");
const time = new Intl.DateTimeFormat(undefined, {hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false});
const date = new Intl.DateTimeFormat(undefined, {year: "numeric", month: "short", day: "numeric"});

export const NOTHING = "–";

function known(x) {
    return typeof x === "number" && Number.isFinite(x);
}

/* Three digits that count. */
function digits(x) {
    const size = Math.abs(x);

    return size >= 100 || size === 0 ? x.toFixed(0) : size >= 10 ? x.toFixed(1) : x.toFixed(2);
}

export function count(n) {
    return known(n) ? whole.format(n) : NOTHING;
}

/* Microseconds. */
export function duration(us) {
    if (!known(us))
        return NOTHING;
    if (us < 1000)
        return `${us < 10 && us % 1 ? us.toFixed(1) : Math.round(us)} µs`;
    if (us < 1e6)
        return `${digits(us / 1e3)} ms`;
    if (us < 60e6)
        return `${digits(us / 1e6)} s`;
    const s = Math.floor(us / 1e6);
    if (s < 3600)
        return `${Math.floor(s / 60)} min ${s % 60} s`;
    if (s < 86400)
        return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

export function bytes(n) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let u = 0;

    if (!known(n))
        return NOTHING;
    for (; n >= 1024 && u < units.length - 1; u++)
        n /= 1024;
    return `${u === 0 ? n : digits(n)} ${units[u]}`;
}

export function rate(GBps) {
    const size = Math.abs(GBps);

    if (!known(GBps))
        return NOTHING;
    return size >= 1 || size === 0 ? `${digits(GBps)} GB/s` : size >= 1e-3 ? `${digits(GBps * 1e3)} MB/s` : `${digits(GBps * 1e6)} kB/s`;
}

/* Of a job: one that moves no bytes has none. */
export function jobRate(GBps) {
    return GBps ? rate(GBps) : NOTHING;
}

export function perSecond(x) {
    return known(x) ? `${x > 0 && x < 10 ? digits(x) : count(Math.round(x))}/s` : NOTHING;
}

export function percent(part) {
    return known(part) ? `${part > 0 && part < 0.1 ? (part * 100).toFixed(1) : Math.round(part * 100)} %` : NOTHING;
}

/* The wall clock's time of day; with the day when it was another one. */
export function clock(text) {
    const at = new Date(text);

    if (!text || Number.isNaN(at.getTime()))
        return NOTHING;
    return at.toDateString() === new Date().toDateString() ? time.format(at) : `${date.format(at)} ${time.format(at)}`;
}

/* Milliseconds since an RFC 3339 time, by the server's clock as far as it is known. */
export function since(text, nowMs) {
    return Math.max(0, nowMs - Date.parse(text));
}

export function ago(text, nowMs) {
    const s = since(text, nowMs) / 1000;

    if (Number.isNaN(s))
        return NOTHING;
    if (s < 5)
        return "just now";
    if (s < 60)
        return `${Math.floor(s / 5) * 5} s ago`;
    if (s < 3600)
        return `${Math.floor(s / 60)} min ago`;
    return s < 86400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
}

export function shape(dims) {
    return !dims ? NOTHING : dims.length === 0 ? "scalar" : dims.join(" × ");
}

/* "1, 2 and 5" */
export function list(items) {
    return items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}

export function ranks(numbers) {
    return numbers.length === 1 ? `rank ${numbers[0]}` : `ranks ${list(numbers)}`;
}

export function plural(n, word) {
    return `${count(n)} ${word}${n === 1 ? "" : "s"}`;
}
