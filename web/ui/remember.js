/* remember.js - what a job was asked with, so that it can be asked again: what this tab has sent, and what the service has kept. */
import {elements} from "./tensor.js";

const KEY = "tutti.sent:", MOST_TEXT = 64 << 10, MOST = 50;

export function rememberBody(id, text) {
    if (text.length > MOST_TEXT)
        return;
    try {
        const old = Object.keys(sessionStorage).filter((k) => k.startsWith(KEY)).sort();

        old.slice(0, Math.max(0, old.length - MOST + 1)).forEach((k) => sessionStorage.removeItem(k));
        sessionStorage.setItem(KEY + id, text);
    } catch { /* storage is full or forbidden: it cannot be run again, and that is all */ }
}

export function remembered(id) {
    try {
        return sessionStorage.getItem(KEY + id);
    } catch {
        return null;
    }
}

/* Elements that tell ranks apart: 10, 11, 12 … of rank 1; of a bool, one in each rank's place. */
export function sampleInput(dims, dtype, rank) {
    let i = 0;
    const one = () => {
        const n = i++;

        if (dtype === "bool")
            return (n + rank) % 2 === 0;
        return dtype.endsWith("int8") ? (10 * rank + n + 1) % 100 : 10 * rank + n + 1;
    };
    const fill = (d) => d === dims.length ? one() : Array.from({length: dims[d]}, () => fill(d + 1));

    return fill(0);
}

/* Does this group rank give an input? */
export function gives(op, rank, parameters) {
    return op?.gives === "all" || (op?.gives === "root" && rank === 0) || (op?.gives === "src" && rank === Number(parameters.src ?? 0));
}

/* Elements of a list, as it stands in JSON, in lists of this shape; null when no list says the shape. */
function nested(list, dims) {
    let parts = list ? list.split(",") : [];

    if (parts.length !== elements(dims) || (dims.length > 1 && dims.includes(0)))
        return null;
    for (const d of dims.slice(1).reverse())
        parts = Array.from({length: parts.length / d}, (_, i) => `[${parts.slice(i * d, (i + 1) * d).join(",")}]`);
    return dims.length ? `[${parts.join(",")}]` : parts[0];
}

/* The request that a script of GET /v1/jobs/{id}/reproduce sends (server/reproduce.c), as a person would type it: {path, body},
 * body being JSON text. null where it sends bytes first. group: the name of the group whose ranks the job has, if there is one. */
export function requestOf(script, job, group) {
    const body = /^printf '%s' '([^']*)' >"\$work\/job"$/m.exec(script)?.[1], path = /^call POST '\/([^?']*)\?/m.exec(script)?.[1];

    if (!body || !path)
        return null;
    const lists = body.replace(/\{"dtype":"\w+","shape":\[([\d,]*)\],"data":\[([^\]]*)\]\}/g, (whole, dims, list) =>
        nested(list, dims ? dims.split(",").map(Number) : []) ?? whole);
    const typed = lists === body ? body : lists.replace('"stream":', `"dtype":"${job.dtype}","stream":`);
    return {path, body: typed.replace(/,"(stream|priority)":0(?=[,}])|,"timeout":60(?=[,}])/g, "").replace(/"group":\[[\d,]*\]/, (list) => group ? `"group":${JSON.stringify(group)}` : list)};
}
