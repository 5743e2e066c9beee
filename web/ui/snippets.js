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
export function asCurl(body, path = "v1/jobs?wait=10") {
    return `curl -s ${quote(url(path))}${auth()} \\\n     -H 'Content-Type: application/json' \\\n     -d ${quote(body)}`;
}

/* JSON is Python, but for these words; those inside strings stay. */
function asLiteral(json) {
    return json.replace(/"(?:[^"\\]|\\.)*"|\b(?:null|true|false)\b/g,
                        (word) => ({null: "None", true: "True", false: "False"})[word] ?? word);
}

export function asPython(body, path = "v1/jobs?wait=10") {
    const token = tokenGet();

    return `import ${token ? "os, " : ""}requests\n\n` +
        `answer = requests.post(${JSON.stringify(url(path))}, json=${asLiteral(body)}` +
        (token ? `,\n                       headers={"Authorization": "Bearer " + os.environ["TUTTI_TOKEN"]}` : "") + ")\n" +
        `answer.raise_for_status()\nfor output in answer.json()["outputs"]:\n    print(output and output["data"])`;
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
