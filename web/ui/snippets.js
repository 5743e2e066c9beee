/* snippets.js - a job as a person would type it: with curl, and in Python. */
import {base} from "./api.js";
import {tokenGet} from "./token.js";

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function url(path) {
    return new URL(path, base).href;
}

function auth() {
    return tokenGet() ? ' \\\n     -H "Authorization: Bearer $TUTTI_TOKEN"' : "";
}

/* body: JSON text. */
export function asCurl(body, path = "v1/jobs") {
    return `curl -s ${quote(url(`${path}?wait=10`))}${auth()} \\\n     -H 'Content-Type: application/json' \\\n     -d ${quote(body)}`;
}

/* A list of inputs as Python writes it: a string that stands for a number is that number. null: what only JSON says is in it.
 * like: {dtype, shape} of a tensor that is named. */
function asInputs(json, like) {
    const named = like ? json.replace(/\{"tensor":("t_\w+")\}/g, `tutti.Tensor(world.service, $1, "${like.dtype}", ${JSON.stringify(like.shape)})`) : json;
    const words = {null: "None", true: "True", false: "False"};

    if (/[{}]/.test(named))
        return null;
    return named.replace(/"([+-]?(?:NaN|Infinity))"|"(-?[1-9]\d*)"|"[^"]*"|\b(?:null|true|false)\b/g,
                         (text, odd, digits) => odd ? `float("${odd}")` : digits ?? words[text] ?? text);
}

const literal = (value) => value === true ? "True" : value === false ? "False" : JSON.stringify(value);

/* With the client that the service carries. body: JSON text whose last member is `inputs`; null where Python has no words for it. */
export function asPython(body, like) {
    const {op, inputs, ...more} = JSON.parse(body), at = body.indexOf('"inputs":');
    const given = !inputs || op === "barrier" ? "" : asInputs(body.slice(at + 9, -1), like);
    const options = Object.entries(more).filter(([name, v]) => !(name === "group" && v === "world")).map(([name, v]) => `${name}=${literal(v)}`);

    if (!op || given === null)
        return null;
    return `import tutti  # ${url("client/tutti.py")}\n\n` +
        `world = tutti.connect(${JSON.stringify(url("").replace(/\/$/, ""))}).world${tokenGet() ? "  # with the token in $TUTTI_TOKEN" : ""}\n` +
        `outputs = world.${op}(${[...given ? [given] : [], ...options].join(", ")})\nfor output in outputs:\n    print(output)`;
}

/* A first job for a world of n ranks. */
export function firstJob(n) {
    const inputs = Array.from({length: Math.min(n, 8)}, (_, r) => `[${2 * r + 1},${2 * r + 2}]`).join(",");
    const group = n > 8 ? `"group":[0,1,2,3,4,5,6,7],` : "";

    return asCurl(`{"op":"all_reduce_sum",${group}"inputs":[${inputs}]}`);
}

export function firstGroup(n) {
    return `curl -s ${quote(url("v1/groups"))}${auth()} \\\n     -H 'Content-Type: application/json' \\\n     -d '{"name":"pair","ranks":[${n > 1 ? "1,0" : "0"}]}'`;
}
