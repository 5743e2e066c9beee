#!/usr/bin/env node
// A job from the playground to its end, in the dashboard: seen live, opened, run again, deleted; hostile words stay words.
import {assert, clean, equal, fact, finish, go, live, open, python, service, sources, until} from "./lib.mjs";

const s = await service();
const page = await open({permissions: ["clipboard-read", "clipboard-write"]});
const other = await open(); // somebody else who looks
const HOSTILE = `<img src=x onerror="document.title='owned'"><script>alert(1)</script>`;
let job = null;

const bodyOf = (curl) => JSON.parse(/-d '(.*)'$/s.exec(curl)[1].replaceAll("'\\''", "'"));
const rowOf = (p, id) => p.locator(`tr:has(a[data-job="${id}"])`);

async function copied(what) {
    await page.evaluate(() => navigator.clipboard.writeText(""));
    await page.getByRole("button", {name: `Copy as ${what}`}).click();
    return until("it is copied", () => page.evaluate(() => navigator.clipboard.readText()));
}

await fact("the dashboard loads, is live, and says what to do while there is no job", async () => {
    await page.goto(`${s.url}/`);
    await live(page);
    await page.getByText("collecting…").waitFor();
    await page.getByText("All 4 ranks are here.").waitFor();
    await page.getByText("No job yet").waitFor();
    const command = await page.locator(".empty .code code").textContent();
    assert(command.startsWith("curl -s") && command.includes("all_reduce_sum"), command);
});

await fact("the playground knows every operation, and each one's parameters, from the service", async () => {
    const {ops} = await s.ask("GET", "/v1");

    await go(page, "#/playground");
    const names = await page.locator('select[name="op"] option').allTextContents();
    equal(names, ops.map((op) => op.name), "the menu");
    for (const op of ops) {
        await page.selectOption('select[name="op"]', op.name);
        await page.getByText(op.sentence, {exact: true}).waitFor();
        for (const name of ["axis", "split_axis", "concat_axis", "src", "dst"])
            equal(await page.locator(`input[name="${name}"]`).count(), op.parameters.includes(name) ? 1 : 0, `${op.name}: ${name}`);
        equal(await page.locator("textarea").count(), {all: 4, root: 1, src: 1, none: 0}[op.gives], `inputs of ${op.name}`);
    }
});

await fact("it runs one, shows each rank's input beside its output, and whoever else looks sees it at once", async () => {
    await other.goto(`${s.url}/#/jobs`);
    await live(other);
    await page.selectOption('select[name="op"]', "all_gather");
    await page.selectOption('select[name="dtype"]', "int32");
    for (let r = 0; r < 4; r++)
        await page.fill(`textarea[name="input-${r}"]`, `[${r}, ${r * 100}]`);
    await page.getByRole("button", {name: "Run", exact: true}).click();
    const output = page.getByRole("group", {name: "Output of rank 3"}).locator(".elements");
    await output.locator("span").nth(7).waitFor();
    equal((await output.locator("span").allTextContents()).join(), "0,0,1,100,2,200,3,300", "the output");
    job = await until("the job is on record", async () => (await s.ask("GET", "/v1/jobs")).jobs[0]);
    await rowOf(other, job.id).getByText("succeeded").waitFor();
});

await fact("what is no JSON is said where it stands, and is not sent", async () => {
    await page.fill('textarea[name="input-2"]', "[1, 2");
    await page.getByText("This is no JSON").waitFor();
    assert(await page.getByRole("button", {name: "Run", exact: true}).isDisabled(), "it can be run");
    await page.fill('textarea[name="input-2"]', "[1, 2, 3]");
    await page.getByRole("button", {name: "Run", exact: true}).click();
    const problem = await s.ask("POST", "/v1/jobs", {op: "all_gather", dtype: "int32", inputs: [[0, 0], [1, 100], [1, 2, 3], [3, 300]]});
    await page.getByRole("alert").getByText(problem.detail).waitFor(); // the service's own words
});

await fact("its timeline says where the time went, and each output what is in it", async () => {
    await go(page, `#/jobs/${job.id}`);
    await page.getByRole("heading", {name: "Timeline"}).waitFor();
    equal(await page.locator(".phases b").allTextContents(), ["checked", "recorded", "in the queue", "collective", "answered"], "phases");
    const output = page.locator(".output");
    await output.getByText("int32").waitFor();
    const {ranks} = (await s.ask("GET", `/v1/jobs/${job.id}`)).timeline;
    equal(await page.locator(".lane").count(), ranks ? 4 : 0, "a lane for each rank");
    equal(await output.locator(".figures dd").allTextContents(), ["0", "75.75", "300"], "least, mean, most");
});

await fact("copied as curl and as Python it is the request that was sent", async () => {
    const again = await s.ask("POST", "/v1/jobs?wait=10", bodyOf(await copied("curl")));
    equal(again.outputs[0].data, [0, 0, 1, 100, 2, 200, 3, 300], "the output");
    equal(python(await copied("Python")).trim().split("\n"), Array(4).fill("[  0   0   1 100   2 200   3 300]"), "what Python prints");
});

await fact("a job of somebody else's is copied and run again with its own inputs, as the service has kept them", async () => {
    const matrix = (r) => [[r + 0.5, -r], ["NaN", 7]], inputs = [3, 1].map(matrix);
    const theirs = await s.ask("POST", "/v1/jobs?wait=10", {op: "all_gather", group: [3, 1], axis: 1, label: "it's", inputs});
    const data = JSON.stringify(theirs.outputs.map((o) => o.data));

    await go(page, `#/jobs/${theirs.id}`);
    const body = bodyOf(await copied("curl"));
    equal(body, {op: "all_gather", group: [3, 1], axis: 1, dtype: "float32", label: "it's", inputs}, "the request");
    equal(python(`${await copied("Python")}\nprint(outputs[1].shape, outputs.job.doc["label"])`).trim().split("\n").at(-1), "(2, 4) it's", "what Python prints");
    await page.getByRole("button", {name: "Run again", exact: true}).click();
    await until("another job is shown", () => !page.url().includes(theirs.id));
    await page.locator("h1").getByText("succeeded").waitFor();
    const again = await s.ask("GET", `/v1/jobs/${page.url().split("/").at(-1)}`);
    equal(JSON.stringify(again.outputs.map((o) => o.data)), data, "its outputs");
    const gradient = await s.ask("POST", `/v1/jobs/${theirs.id}/backward?wait=10`, {grads: [[[1, 2, 3, 4], [5, 6, 7, 8]], null]});
    await go(page, `#/jobs/${gradient.id}`);
    const curl = await copied("curl");
    assert(curl.includes(`/v1/jobs/${theirs.id}/backward?`), curl);
    equal(bodyOf(curl), {dtype: "float32", grads: [[[1, 2, 3, 4], [5, 6, 7, 8]], [[0, 0, 0, 0], [0, 0, 0, 0]]]}, "the gradient's request");
    for (const op of ["scatter", "barrier", "remote_send"]) {
        const one = await s.ask("POST", "/v1/jobs?wait=10", {op, ...(op === "barrier" ? {} : {inputs: [[[1, 2], [3, 4], [5, 6], [7, 8]], null, null, null]})});
        await go(page, `#/jobs/${one.id}`);
        await page.locator(".id").getByText(one.id).waitFor();
        const by = await s.ask("POST", "/v1/jobs?wait=10", bodyOf(await copied("curl")));
        equal(by.outputs.map((o) => o && o.data), one.outputs.map((o) => o && o.data), `outputs of ${op}`);
        equal(by.group, "world", "its group has the name that it had");
    }
    await page.reload();
    await until("the group's name is there, too, when the page begins here", async () => bodyOf(await copied("curl")).group === "world");
});

await fact("large inputs are named as long as they are there; after that the script asks for them, and the page says so", async () => {
    const {tensor} = await s.ask("POST", "/v1/tensors", {dtype: "int32", shape: [3000], data: Array.from({length: 3000}, (_, i) => i)});
    const large = await s.ask("POST", "/v1/jobs?wait=10", {op: "all_reduce_sum", inputs: Array(4).fill({tensor})});
    const never = (await s.ask("POST", "/v1/groups/world/ranks/0/calls", {op: "all_reduce_sum", input: [1], timeout: 1})).job;

    await go(page, `#/jobs/${large.id}`);
    equal(bodyOf(await copied("curl")).inputs, Array(4).fill({tensor}), "inputs");
    equal(python(`${await copied("Python")}\nprint(outputs[3][2999])`).trim().split("\n").at(-1), "11996", "what Python prints");
    await fetch(`${s.url}/v1/tensors/${tensor}`, {method: "DELETE"});
    await go(page, "#/jobs");
    await go(page, `#/jobs/${large.id}`);
    await page.getByText("this script takes them as files").waitFor();
    assert((await copied("curl")).startsWith("#!/bin/sh"), "no script");
    equal([await page.getByRole("button", {name: "Copy as Python"}).count(), await page.getByRole("button", {name: "Run again"}).count()], [0, 0], "buttons");
    await go(page, `#/jobs/${never}`);
    await page.getByText("Its inputs are not kept: it is not known what the job was given").waitFor();
    await page.getByRole("button", {name: "Try it with samples"}).waitFor();
    for (let r = 1; r < 4; r++)
        await s.ask("POST", `/v1/groups/world/ranks/${r}/calls`, {op: "all_reduce_sum", input: [1]});
    await go(page, `#/jobs/${job.id}`);
});

await fact("the script that repeats it is shown, and its trace saved", async () => {
    const answer = await fetch(`${s.url}/v1/jobs/${job.id}/reproduce`), script = await answer.text();

    await page.getByRole("button", {name: "Script that repeats it"}).click();
    if (answer.status === 404) { // a service that has no such path is quoted
        await page.getByRole("alert").getByText(JSON.parse(script).detail).waitFor();
        return;
    }
    await page.locator(".code code", {hasText: script.split("\n")[0]}).waitFor();
    const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", {name: "Trace for Perfetto"}).click()]);
    equal(saved.suggestedFilename(), `${job.id}.trace.json`, "its name");
});

await fact("it is run again with the same inputs, and deleted when that is confirmed", async () => {
    await page.getByRole("button", {name: "Run again", exact: true}).click();
    await until("another job is shown", () => page.url().includes("#/jobs/j_") && !page.url().includes(job.id));
    const id = page.url().split("/").at(-1);
    await page.locator("h1").getByText("succeeded").waitFor();
    await page.getByRole("button", {name: "Delete", exact: true}).click();
    await page.getByRole("button", {name: "Keep it"}).click();
    await page.getByRole("dialog").waitFor({state: "detached"});
    equal((await s.ask("GET", `/v1/jobs/${id}`)).id, id, "the job that was kept");
    await page.getByRole("button", {name: "Delete", exact: true}).click();
    await page.getByRole("button", {name: "Delete it"}).click();
    await page.getByRole("heading", {name: "Jobs", exact: true}).waitFor();
    await until("it is gone", async () => (await s.ask("GET", `/v1/jobs/${id}`)).code === "job_unknown");
});

await fact("a label that is HTML is shown as it was written, and nothing of it runs", async () => {
    const hostile = await s.ask("POST", "/v1/jobs?wait=10", {op: "all_reduce_sum", label: HOSTILE, inputs: [[1], [2], [3], [4]]});

    for (const hash of ["#/", "#/jobs", `#/jobs/${hostile.id}`, `#/jobs?label=${encodeURIComponent(HOSTILE)}`]) {
        await go(page, hash);
        await page.locator(".label", {hasText: HOSTILE}).first().waitFor();
        equal(await page.locator("img, #app script").count(), 0, "elements that it made");
    }
    await go(page, "#/jobs?op=<img src=x onerror=alert(1)>&search=<script>alert(1)</script>");
    await page.locator(".problem, .empty").first().waitFor();
    assert(!(await page.title()).includes("owned"), "the label ran");
    const parsers = sources().filter(([, text]) => /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/.test(text));
    equal(parsers.map(([name]) => name), [], "files that parse text as HTML or code");
});

await fact("a label of any length stays in its place, and is there whole", async () => {
    const label = "W".repeat(256), long = await s.ask("POST", "/v1/jobs?wait=10", {op: "all_gather", label, inputs: [[1], [2], [3], [4]]});
    const {width, height} = page.viewportSize();

    for (const wide of [width, 800, 390]) {
        await page.setViewportSize({width: wide, height});
        for (const hash of ["#/jobs", `#/jobs/${long.id}`]) {
            await go(page, hash);
            const chip = page.locator(".label", {hasText: label}).first();
            await chip.waitFor();
            const over = await chip.evaluate((el) => el.getBoundingClientRect().right - el.parentElement.getBoundingClientRect().right);
            assert(over <= 0.5, `it is ${over} pixels over at ${wide}, ${hash}`);
            const {title, cut} = await chip.evaluate((el) => ({title: el.title, cut: el.scrollWidth > el.clientWidth}));
            assert(title === label || !cut, `it cannot be read to its end at ${wide}, ${hash}`);
        }
    }
    await page.setViewportSize({width, height});
});

await fact("what has no elements keeps its shape when it is copied", async () => {
    const none = {dtype: "float32", shape: [2, 0], data: []}, empty = await s.ask("POST", "/v1/jobs?wait=10", {op: "all_reduce_sum", inputs: Array(4).fill(none)});

    await go(page, `#/jobs/${empty.id}`);
    const curl = await page.locator(".code code", {hasText: "curl"}).textContent();
    equal(JSON.parse(/-d '(.*)'$/s.exec(curl)[1]).inputs, Array(4).fill(none), "the inputs");
});

await fact("a job that moves nothing has no rates", async () => {
    const barrier = await s.ask("POST", "/v1/jobs?wait=10", {op: "barrier"});

    await go(page, "#/jobs");
    equal(await rowOf(page, barrier.id).locator(".cell-outcome").textContent(), "–", "its outcome");
    await go(page, `#/jobs/${barrier.id}`);
    await page.locator("h1").getByText("succeeded").waitFor();
    equal(await page.getByText(/[GMk]B\/s/).count(), 0, "rates");
    equal([await page.getByText("uint8").count(), await page.getByRole("heading", {name: "Outputs"}).count()], [0, 0], "a dtype, and outputs");
    await page.locator("dl").getByText("none", {exact: true}).waitFor(); // its inputs, of no dtype
    const curl = await page.locator(".code code", {hasText: "curl"}).textContent();
    equal(JSON.parse(/-d '(.*)'$/s.exec(curl)[1]), {op: "barrier", group: "world"}, "the same by hand");
    await go(page, `#/jobs/${job.id}`);
    await page.getByText("algbw, busbw").waitFor();
});

await fact("rates of one size stand in one unit", async () => {
    const said = await page.evaluate(async () => {
        const {rate} = await import(new URL("ui/format.js", document.baseURI));
        return [12.34, 1, 0.99, 0.12, 0.097, 0.001, 0.0004].map(rate);
    });
    equal(said, ["12.3 GB/s", "1.00 GB/s", "990 MB/s", "120 MB/s", "97.0 MB/s", "1.00 MB/s", "400 kB/s"], "rates");
});

await fact("filters and search find a job among thousands, page by page", async () => {
    const lines = Array.from({length: 2500}, (_, i) => JSON.stringify({op: i % 2 ? "all_reduce_max" : "broadcast", label: i === 3 ? "needle in the hay" : `many ${i}`, inputs: [[1], [2], [3], [4]]}));
    const answer = await fetch(`${s.url}/v1/jobs:batch?wait=60`, {method: "POST", headers: {"Content-Type": "application/x-ndjson"}, body: lines.join("\n")});
    await answer.text();
    await go(page, "#/jobs");
    await page.locator('tr:has-text("many 2499")').waitFor();
    const rows = await page.locator("tbody tr").count();
    assert(rows <= 300, `${rows} rows are shown at once`);
    await page.locator(".segments").getByText("succeeded").click();
    await page.selectOption('select[name="op"]', "broadcast");
    await until("only those are shown", async () => (await page.locator("tbody tr").count()) > 50 && (await page.locator('tbody tr:not(:has-text("broadcast"))').count()) === 0);
    await page.getByRole("button", {name: "Show older"}).click();
    await until("older ones come", async () => (await page.locator("tbody tr").count()) > 500);
    await page.selectOption('select[name="op"]', "");
    await page.getByLabel("Search").fill("hay NEEDLE");
    await until("it alone is found", async () => (await page.locator("tbody tr").count()) === 1 && page.locator("tbody tr").getByText("needle in the hay").isVisible());
    await page.getByLabel("Search").fill(job.id);
    await page.getByLabel("Search").press("Enter");
    await page.getByRole("heading", {name: "all_gather"}).waitFor();
});

await fact("copied as Python each operation runs with the client, and gives what it gives by curl", async () => {
    const {ops} = await s.ask("GET", "/v1"), snippets = [], wanted = [];
    const RUN = `import contextlib, io, json, sys
for snippet in json.loads(sys.stdin.read()):
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(snippet, names)
    print(json.dumps([None if x is None else x.tolist() for x in names["outputs"]]))`;

    await go(page, "#/playground");
    await page.getByRole("button", {name: "Sample inputs"}).click();
    for (const {name} of [...ops, {name: "all_gather"}]) {
        await page.selectOption('select[name="op"]', name);
        if (snippets.length === ops.length) { // numbers that stand in strings
            await page.selectOption('select[name="dtype"]', "float64");
            await page.fill('textarea[name="input-0"]', '["NaN", "-Infinity", 1e-3, 2]');
        }
        snippets.push(await copied("Python"));
        const {outputs, detail} = await s.ask("POST", "/v1/jobs?wait=10", bodyOf(await copied("curl")));
        assert(outputs, `${name}: ${detail}`);
        wanted.push(outputs.map((o) => o && o.data));
    }
    const got = python(RUN, {}, JSON.stringify(snippets)).trim().split("\n").map((line) => JSON.parse(line.replace(/-?(NaN|Infinity)/g, '"$&"')));
    equal(got, wanted, "the outputs");
});

await fact("nothing was complained of, and no request left the host", async () => {
    clean(page, s.url, [/status of 422/, /status of 404/, /status of 410/]); // what was wrong on purpose: shapes, a job that was deleted, inputs that never came
    clean(other, s.url);
});

await s.stop();
await finish();
