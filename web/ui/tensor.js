/* tensor.js - what is in a tensor, as far as one wants to see it: its first elements, and figures of those that are here. */
import {ask} from "./api.js";
import {h} from "./dom.js";
import {bytes, count, shape} from "./format.js";

const FIRST = 1024;     // elements that are fetched of a tensor that is too large to be shown unasked
const CELLS = 8;        // rows and columns of a matrix
const LINE = 24;        // elements of anything else

const SIZES = {float16: 2, bfloat16: 2, float32: 4, float64: 8, int8: 1, uint8: 1, int16: 2, uint16: 2, int32: 4, uint32: 4,
               int64: 8, uint64: 8, bool: 1};

export function elements(dims) {
    return dims.reduce((n, d) => n * d, 1);
}

export function flatten(data, most = Infinity) {
    const out = [], walk = (x) => {
        if (out.length >= most)
            return;
        if (Array.isArray(x))
            x.forEach(walk);
        else
            out.push(x);
    };

    walk(data);
    return out;
}

/* ---- bytes, as they lie in the arena ---- */

function half(bits) {
    const sign = bits >> 15 ? -1 : 1, e = (bits >> 10) & 31, m = bits & 1023;

    return e === 31 ? (m ? NaN : sign * Infinity) : sign * (e ? 2 ** (e - 15) * (1 + m / 1024) : 2 ** -14 * (m / 1024));
}

function bfloat(bits) {
    const view = new DataView(new ArrayBuffer(4));

    view.setUint32(0, bits << 16);
    return view.getFloat32(0);
}

const READ = {
    float16: (v, i) => half(v.getUint16(i, true)),
    bfloat16: (v, i) => bfloat(v.getUint16(i, true)),
    float32: (v, i) => v.getFloat32(i, true),
    float64: (v, i) => v.getFloat64(i, true),
    int8: (v, i) => v.getInt8(i),
    uint8: (v, i) => v.getUint8(i),
    int16: (v, i) => v.getInt16(i, true),
    uint16: (v, i) => v.getUint16(i, true),
    int32: (v, i) => v.getInt32(i, true),
    uint32: (v, i) => v.getUint32(i, true),
    int64: (v, i) => exactly(v.getBigInt64(i, true)),
    uint64: (v, i) => exactly(v.getBigUint64(i, true)),
    bool: (v, i) => v.getUint8(i) !== 0,
};

function exactly(big) {
    const n = Number(big);

    return Number.isSafeInteger(n) ? n : String(big);
}

/* The first elements of an output, whose document came without data. */
export async function firstElements(output) {
    const size = SIZES[output.dtype], n = Math.min(FIRST, elements(output.shape));

    if (n === 0)
        return [];
    const answer = await ask("GET", `v1/tensors/${encodeURIComponent(output.tensor)}?format=raw`,
                             {accept: "*/*", more: {Range: `bytes=0-${n * size - 1}`}});
    const view = new DataView(await answer.arrayBuffer());
    return Array.from({length: Math.min(n, Math.floor(view.byteLength / size))}, (_, i) => READ[output.dtype](view, i * size));
}

/* ---- figures ---- */

/* Of finite numbers; what is not finite is counted. */
export function stats(values) {
    let least = Infinity, most = -Infinity, sum = 0, n = 0, odd = 0;

    for (const x of values) {
        const v = typeof x === "string" ? Number(x) : Number(x);

        if (!Number.isFinite(v)) {
            odd++;
            continue;
        }
        least = Math.min(least, v);
        most = Math.max(most, v);
        sum += v;
        n++;
    }
    return {n, odd, least: n ? least : null, most: n ? most : null, mean: n ? sum / n : null};
}

/* As short as it can be without lying much. */
export function element(x) {
    if (typeof x !== "number" || Number.isInteger(x))
        return x === null ? "null" : String(x);
    return Number.isFinite(x) ? String(Number(x.toPrecision(6))) : String(x);
}

/* ---- the picture ---- */

function matrix(values, rows, columns) {
    const r = Math.min(rows, CELLS), c = Math.min(columns, CELLS);

    return h("div", {class: "matrix", vars: {"--columns": String(c + (columns > c))}},
             Array.from({length: r}, (_, i) => [
                 Array.from({length: c}, (_, j) => h("span", null, element(values[i * columns + j]))),
                 columns > c ? h("span", {class: "quiet"}, "…") : null,
             ]), rows > r ? h("p", {class: "quiet"}, `… ${count(rows - r)} more rows`) : null);
}

/* values: flat, from the first on. */
export function preview(dims, values) {
    const n = elements(dims);

    if (n === 0)
        return h("p", {class: "quiet"}, "It has no elements.");
    if (dims.length === 2 && values.length >= Math.min(dims[0], CELLS) * dims[1])
        return matrix(values, dims[0], dims[1]);
    const shown = values.slice(0, LINE);
    return h("p", {class: "elements"}, shown.map((x) => h("span", null, element(x))),
             n > shown.length ? h("span", {class: "quiet"}, `… ${count(n - shown.length)} more`) : null);
}

export function describe(output) {
    const n = elements(output.shape);

    return h("p", {class: "quiet describe"}, h("span", null, output.dtype), h("span", null, shape(output.shape)),
             h("span", null, bytes(n * (SIZES[output.dtype] ?? 0))));
}

export function figures(values, n) {
    const s = stats(values), of = values.length < n ? ` of the first ${count(values.length)}` : "";

    if (values.length === 0 || typeof values[0] === "boolean")
        return null;
    return h("dl", {class: "figures", "aria-label": `Figures${of}`},
             [["min", s.least], ["mean", s.mean], ["max", s.most]].map(([name, v]) =>
                 h("div", null, h("dt", null, name), h("dd", null, v === null ? "none" : element(v)))),
             s.odd ? h("div", null, h("dt", null, "not finite"), h("dd", {class: "is-bad"}, count(s.odd))) : null,
             of ? h("div", null, h("dt", null, "of the first"), h("dd", null, count(values.length))) : null);
}
