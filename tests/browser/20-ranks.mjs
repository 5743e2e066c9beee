#!/usr/bin/env node
// Who is missing is named while the others wait; a worker that is killed is seen lost, and back.
import {assert, clean, equal, fact, finish, go, live, open, service, until} from "./lib.mjs";

const s = await service();
const page = await open();
const call = (rank, more = {}) => s.ask("POST", `/v1/groups/world/ranks/${rank}/calls`, {op: "all_reduce_sum", input: [rank, 1], timeout: 60, ...more});
const CUT_OFF = /\/v1(\/|\?|$)/;
let calls = [];

await page.goto(`${s.url}/`);
await live(page);

await fact("a rank that has not called is named at once, on the overview and in the job", async () => {
    calls = [call(0), call(3)];
    const waiter = page.locator(".waiter");
    await waiter.getByText("Ranks 1, 2 missing").waitFor();
    await waiter.getByRole("link", {name: "all_reduce_sum"}).click();
    await page.getByText("Missing: ranks 1 and 2").waitFor();
    equal(await page.locator(".lane:has-text('missing') .rank-chip").allTextContents(), ["1", "2"], "lanes of the missing");
});

await fact("as they come the names go, and the job is seen to its end", async () => {
    calls.push(call(2));
    await page.getByText("Missing: rank 1", {exact: true}).waitFor();
    calls.push(call(1));
    await page.locator("h1").getByText("succeeded").waitFor();
    await page.locator(".output").first().getByText("float32").waitFor();
    equal((await Promise.all(calls)).map((a) => a.output.data[0]), [6, 6, 6, 6], "what the ranks got");
});

await fact("a call that nobody joins fails with the names in it", async () => {
    const answer = await call(0, {timeout: 1});

    equal(answer.ranks, [1, 2, 3], "ranks");
    await go(page, "#/jobs?state=failed");
    await page.locator("tbody tr").getByText("ranks_missing").waitFor();
    await page.locator("tbody a").first().click();
    await page.getByRole("alert").getByText(answer.detail.slice(0, 40)).waitFor();
    equal(await page.locator(".lane:has-text('missing') .rank-chip").allTextContents(), ["1", "2", "3"], "lanes of those that never came");
    equal(await page.locator(".lane:has-text('came') .rank-chip").allTextContents(), ["0"], "lanes of those that did");
    for (const rank of [1, 2, 3]) // they come too late, and hear so: the next calls belong together again
        equal((await call(rank)).code, "ranks_missing", `what rank ${rank} hears`);
});

await fact("the playground calls rank by rank", async () => {
    await go(page, "#/playground");
    await page.getByText("rank by rank").click();
    for (let r = 0; r < 3; r++)
        await page.getByRole("button", {name: `Call as rank ${r}`}).click();
    await page.getByText("missing: 3").waitFor();
    await page.getByRole("button", {name: "Call as rank 3"}).click();
    await page.getByRole("group", {name: "Output of rank 0"}).locator(".elements").waitFor();
});

await fact("a job that waits is cancelled with a button", async () => {
    const waits = call(1);

    await go(page, "#/jobs?state=waiting");
    await page.locator("tbody a").first().click();
    await page.getByRole("button", {name: "Cancel"}).click();
    await page.locator("h1").getByText("cancelled").waitFor();
    equal((await waits).code, "cancelled", "what the caller heard");
});

await fact("of two ranks of which one never came, the others were not needed", async () => {
    const {job} = await s.ask("POST", "/v1/groups/world/ranks/2/calls", {op: "remote_send", dst: 0, input: [1], timeout: 1});

    await go(page, `#/jobs/${job}`);
    await page.locator(".lane").nth(3).waitFor();
    const says = await page.locator(".lane-says").allTextContents();
    equal(says.map((text) => text.replace(/ (first|after .*)$/, "")), ["missing", "is not needed", "came", "is not needed"], "lanes");
    await s.ask("POST", "/v1/groups/world/ranks/0/calls", {op: "remote_recv", src: 2});
});

await fact("a worker that is killed is seen lost, and back, with another process", async () => {
    const before = (await s.ask("GET", "/v1/workers")).workers[2];

    await go(page, "#/workers");
    const card = page.locator(".worker").nth(2);
    await card.getByText(String(before.pid)).waitFor();
    process.kill(before.pid, "SIGKILL");
    await page.getByText("Rank 2 was lost").first().waitFor();
    await page.getByText("Rank 2 is back").first().waitFor();
    await card.getByText("ready").waitFor();
    const now = await until("it has another process", async () => {
        const w = (await s.ask("GET", "/v1/workers")).workers[2];
        return w.pid && w.pid !== before.pid && w;
    });
    await card.getByText(String(now.pid)).waitFor();
    assert(now.counters.restarts === before.counters.restarts + 1, "it was started once");
});

await fact("groups are made, shown live, and deleted", async () => {
    await go(page, "#/groups");
    await s.ask("POST", "/v1/groups", {name: "by-hand", ranks: [2, 0]});
    await page.getByRole("heading", {name: "by-hand"}).waitFor();
    await page.getByLabel("Name").fill("from-here");
    await page.getByLabel(/World ranks/).fill("3, 1");
    await page.getByRole("button", {name: "Make it"}).click();
    await page.getByRole("heading", {name: "from-here"}).waitFor();
    equal((await s.ask("GET", "/v1/groups/from-here")).ranks, [3, 1], "its ranks");
    await page.getByRole("button", {name: "Delete group by-hand"}).click();
    await page.getByRole("button", {name: "Delete it"}).click();
    await page.getByRole("heading", {name: "by-hand"}).waitFor({state: "detached"});
});

await fact("a service that is gone is said to be; when it is there again the page goes on", async () => {
    await page.route(CUT_OFF, (r) => r.abort());
    await page.reload();
    await page.getByText("Offline").waitFor();
    await page.getByText("The service does not answer").first().waitFor();
    page.notes.complaints.length = 0; // each request that was cut off
    await page.unroute(CUT_OFF);
    await live(page);
    await page.getByRole("heading", {name: "from-here"}).waitFor();
});

await fact("nothing was complained of, and no request left the host", async () => clean(page, s.url, [/ERR_FAILED/, /status of 410/]));

await s.stop();
await finish();
