/* remember.js - what this tab has sent, so that it can be sent again; and samples where others sent it. */
import {elements} from "./tensor.js";
import {opOf} from "./state.js";

const KEY = "tutti.sent:", MOST_TEXT = 64 << 10, MOST = 50;
const SAMPLE = 256; // elements of an input that is made up

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

/* The JSON text of a request for the same job: {text, exact}; null when it is too large to be typed. */
export function bodyOf(job) {
    const sent = remembered(job.id), dims = job.input_shape, op = opOf(job.op);

    if (sent)
        return {text: sent, exact: true};
    const {timeout, ...parameters} = job.parameters ?? {}, common = timeout && timeout !== 60 ? {timeout} : {};

    if (op?.gives === "none") // no tensor, and so no dtype
        return {exact: true, text: JSON.stringify({op: job.op, group: job.group ?? job.ranks, ...parameters, ...common})};
    if (!op || !dims || !job.dtype || elements(dims) > SAMPLE || job.ranks.length > 64)
        return null;
    const inputs = job.ranks.map((_, r) => gives(op, r, parameters) ? sampleInput(dims, job.dtype, r) : null);
    return {exact: false, text: JSON.stringify({op: job.op, group: job.group ?? job.ranks, dtype: job.dtype, ...parameters,
                                                ...common, inputs})};
}
