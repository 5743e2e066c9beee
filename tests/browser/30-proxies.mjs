#!/usr/bin/env node
// Behind nginx under a prefix, with tokens; and behind one that holds the events back.
import {assert, clean, equal, fact, file, finish, go, live, newToken, nginx, open, python, service, until} from "./lib.mjs";

const tokens = file("tokens"), alice = newToken(tokens, "alice:user"), reader = newToken(tokens, "alice:read");
const s = await service({options: ["--token-file", tokens]});
const LOCATIONS = `location /tutti/ { proxy_pass ${s.url}/; proxy_read_timeout 60s; }
        location /held/ { proxy_pass ${s.url}/; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; proxy_buffers 8 64k; gzip on; gzip_types *; gzip_min_length 0; }`;
let n = await nginx(LOCATIONS);
const sum = (label) => s.ask("POST", "/v1/jobs?wait=10", {op: "all_reduce_sum", label, inputs: [[1], [2], [3], [4]]}, alice);
const page = await open({permissions: ["clipboard-read", "clipboard-write"]});

await fact("without a token the page asks for one; a wrong one is refused in the service's words", async () => {
    await page.goto(`${n.url}/tutti/`);
    await page.getByRole("heading", {name: "This service asks for a token"}).waitFor();
    await page.getByLabel("Token").fill("alice.wrong");
    await page.getByRole("button", {name: "Come in"}).click();
    await page.getByRole("alert").getByText("unauthorized").waitFor();
});

await fact("with the right one it is live under the prefix, and says who one is", async () => {
    await page.getByLabel("Token").fill(alice);
    await page.getByRole("button", {name: "Come in"}).click();
    await live(page);
    await page.locator(".who").getByText("alice").waitFor();
    await sum("behind a proxy");
    await page.locator("tr").getByText("behind a proxy").waitFor();
});

await fact("the playground runs there", async () => {
    await go(page, "#/playground");
    await page.getByRole("button", {name: "Run", exact: true}).click();
    await page.getByRole("group", {name: "Output of rank 3"}).locator(".elements").waitFor();
    const curl = await page.locator(".code code").textContent();
    assert(curl.includes(`${n.url}/tutti/v1/jobs`) && curl.includes("$TUTTI_TOKEN") && !curl.includes(alice), curl);
    await page.getByRole("button", {name: "Copy as Python"}).click();
    const snippet = await page.evaluate(() => navigator.clipboard.readText());
    assert(snippet.includes(`${n.url}/tutti`) && !snippet.includes(alice), snippet);
    equal(python(snippet, {TUTTI_TOKEN: alice}).trim().split("\n").length, 4, "outputs by Python");
});

await fact("a reload keeps the token; leaving forgets it", async () => {
    await page.reload();
    await live(page);
    await page.getByRole("button", {name: "Leave"}).click();
    await page.getByRole("heading", {name: "This service asks for a token"}).waitFor();
    equal(await page.evaluate(() => JSON.stringify([{...sessionStorage}, {...localStorage}]).includes("alice")), false, "the token is kept");
});

await fact("a link with a token signs in, and the address does not show it; no request's address ever has it", async () => {
    const linked = await open();

    await linked.goto(`${n.url}/tutti/#token=${alice}`);
    await live(linked);
    assert(!linked.url().includes(alice.split(".")[1]), linked.url());
    await linked.locator("tr").getByText("behind a proxy").waitFor();
    assert(!linked.notes.asked.some((url) => url.includes(alice.split(".")[1])), "a request had it in its address");
    clean(linked, n.url);
});

await fact("who may only look sees everything, and no button that does anything", async () => {
    const looks = await open(), job = await sum("looked at");

    await looks.goto(`${n.url}/tutti/#token=${reader}`);
    await live(looks);
    await go(looks, `#/jobs/${job.id}`);
    await looks.getByRole("heading", {name: "Outputs"}).waitFor();
    for (const name of ["Run again", "Delete", "Cancel"])
        equal(await looks.getByRole("button", {name}).count(), 0, name);
    await go(looks, "#/groups");
    await looks.getByRole("heading", {name: "world"}).waitFor();
    equal(await looks.getByRole("button", {name: "Make it"}).count(), 0, "the form");
    await go(looks, "#/playground");
    await looks.getByText("may look, and run nothing").waitFor();
    clean(looks, n.url);
});

await fact("where a proxy holds the events back the page polls, says so, and still sees what happens", async () => {
    const held = await open();

    await held.goto(`${n.url}/held/#token=${alice}`);
    await held.locator('[data-mode="polling"]').waitFor();
    await sum("seen by polling");
    await held.locator("tr").getByText("seen by polling").waitFor();
    const waits = s.ask("POST", "/v1/groups/world/ranks/0/calls", {op: "barrier", timeout: 30}, alice);
    await held.getByText("Ranks 1, 2, 3 missing").waitFor();
    const [job] = (await s.ask("GET", "/v1/jobs?state=waiting", undefined, alice)).jobs;
    await s.ask("POST", `/v1/jobs/${job.id}/cancel`, undefined, alice);
    await waits;
    await until("nobody waits any more", () => held.getByText("Nobody waits for anybody.").isVisible());
    clean(held, n.url);
});

await fact("a stream that breaks goes on after the last event that was seen; after a gap the lists are looked at again", async () => {
    const cut = await open();

    await cut.goto(`${n.url}/tutti/#token=${alice}`);
    await live(cut);
    await sum("before the cut");
    await cut.locator("tr").getByText("before the cut").waitFor();
    await n.stop();
    await cut.locator('[data-mode="offline"]').waitFor();
    await sum("in between");
    n = await nginx(LOCATIONS, n.port);
    await live(cut);
    await cut.locator("tr").getByText("in between").waitFor();
    assert(/^\d+-\d+$/.test(cut.notes.resumed.at(-1)), `the stream was asked for after ${cut.notes.resumed.at(-1)}`);

    await cut.route("**/v1/events", (r) => r.fulfill({contentType: "text/event-stream", body: ": tutti\n\nevent: gap\ndata: {}\n\n"}));
    await n.stop();
    n = await nginx(LOCATIONS, n.port);
    await sum("in the gap"); // no event will tell of it
    await cut.locator("tr").getByText("in the gap").waitFor();
    await until("the stream is asked for from now on", () => cut.notes.resumed.at(-1) === null);
    clean(cut, n.url, [/ERR_/]);
});

await fact("nothing was complained of, and no request left the host", async () => clean(page, n.url, [/status of 401/]));

await n.stop();
await s.stop();
await finish();
