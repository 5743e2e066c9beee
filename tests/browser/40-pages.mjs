#!/usr/bin/env node
// Every page, light and dark and as wide as a phone: axe finds no violation, and nothing is wider than the screen or than its
// card, with names as long as they may be. With TUTTI_TEST_SHOTS each is photographed.
import {clean, equal, fact, finish, go, live, look, open, service, until} from "./lib.mjs";

const s = await service();
const matrix = (r) => [[1 + r, 2 + r], [3 + r, 4 + r]];

// Something to see.
for (let i = 0; i < 24; i++)
    await s.ask("POST", "/v1/jobs?wait=10", {op: ["all_reduce_sum", "all_gather", "reduce_scatter_sum", "broadcast", "all_to_all"][i % 5],
                                             label: i % 3 ? undefined : `step ${i}`, inputs: [0, 1, 2, 3].map((r) => Array.from({length: 1600}, (_, k) => k + r))});
await s.ask("POST", "/v1/groups", {name: "pair", ranks: [3, 1]});
const done = await s.ask("POST", "/v1/jobs?wait=10", {op: "all_to_all", label: "two axes", split_axis: 1, inputs: [0, 1, 2, 3].map((r) => [[r, r + 1, r + 2, r + 3]])});
const large = await s.ask("POST", "/v1/jobs?wait=10", {op: "reduce_sum", inputs: [0, 1, 2, 3].map((r) => Array.from({length: 70000}, (_, k) => k * r))});
const gradient = await s.ask("POST", `/v1/jobs/${large.id}/backward?wait=10`, {grads: [Array.from({length: 70000}, () => 0.5), null, null, null]});
const failed = await s.ask("POST", "/v1/groups/pair/ranks/0/calls", {op: "broadcast", input: [1], timeout: 1});
s.ask("POST", "/v1/groups/world/ranks/0/calls", {op: "all_reduce_max", input: matrix(0), timeout: 600, label: "epoch 3"}).catch(() => {});
s.ask("POST", "/v1/groups/world/ranks/2/calls", {op: "all_reduce_max", input: matrix(2), timeout: 600, label: "epoch 3"}).catch(() => {});
const LONG = "W".repeat(64), LABEL = "W".repeat(256); // no place to break them at
await s.ask("POST", "/v1/groups", {name: LONG, ranks: [1, 3]});
s.ask("POST", `/v1/groups/${LONG}/ranks/0/calls`, {op: "reduce_scatter_max", input: matrix(0), timeout: 600, label: LABEL}).catch(() => {});
const longest = await until("one has called there", async () => (await s.ask("GET", `/v1/jobs?state=waiting&group=${LONG}`)).jobs[0]);
const waiting = await until("two have called", async () => (await s.ask("GET", "/v1/jobs?state=waiting")).jobs.find((j) => j.arrived?.length === 2));

const PAGES = [
    ["overview", "#/", (p) => p.locator(".waiter").nth(1).waitFor()],
    ["jobs", "#/jobs", (p) => p.locator("tbody tr").nth(20).waitFor()],
    ["jobs-none", "#/jobs?search=nothing+is+called+so", (p) => p.getByText("No such job").waitFor()],
    ["job", `#/jobs/${done.id}`, (p) => p.getByRole("heading", {name: "Outputs"}).waitFor()],
    ["job-large", `#/jobs/${large.id}`, (p) => p.getByText("of the first").first().waitFor()],
    ["job-gradient", `#/jobs/${gradient.id}`, (p) => p.getByText("Gradient of").waitFor()],
    ["job-failed", `#/jobs/${failed.job}`, (p) => p.getByRole("alert").waitFor()],
    ["job-waiting", `#/jobs/${waiting.id}`, (p) => p.getByText("Missing: ranks 1 and 3").waitFor()],
    ["job-long-names", `#/jobs/${longest.id}`, (p) => p.getByText("Missing: rank 1").waitFor()],
    ["jobs-long-names", `#/jobs?state=waiting&group=${LONG}`, (p) => p.locator("tbody tr").waitFor()],
    ["job-unknown", "#/jobs/j_01ARZ3NDEKTSV4RRFFQ69G5FAV", (p) => p.getByRole("alert").waitFor()],
    ["workers", "#/workers", (p) => p.locator(".worker").nth(3).waitFor()],
    ["groups", "#/groups", (p) => p.getByRole("heading", {name: "pair"}).waitFor()],
    ["playground", "#/playground", async (p) => {
        await p.getByRole("button", {name: "Run", exact: true}).click();
        await p.locator(".play-output .elements").nth(3).waitFor();
    }],
    ["playground-long-names", `#/playground?group=${LONG}`, (p) => p.getByLabel("Input of rank 1").waitFor()],
    ["metrics", "#/metrics", (p) => p.locator(".legend dd").first().waitFor()],
];

const LOOKS = {
    light: {colorScheme: "light"},
    dark: {colorScheme: "dark"},
    phone: {colorScheme: "light", viewport: {width: 390, height: 844}, hasTouch: true, isMobile: true},
    narrow: {colorScheme: "dark", viewport: {width: 320, height: 640}, hasTouch: true, isMobile: true},
};

for (const [suffix, options] of Object.entries(LOOKS)) {
    const page = await open({reducedMotion: "reduce", ...options});

    await page.goto(`${s.url}/`);
    await live(page);
    for (const [name, hash, ready] of PAGES)
        await fact(`${name}, ${suffix}: axe finds no violation, and it fits`, async () => {
            await go(page, hash);
            await ready(page);
            if (name === "metrics")
                await until("there are lines", async () => (await page.locator(".plot canvas").count()) >= 2 || (await page.getByText("WEB=none").count()) > 0);
            await look(page, name, suffix);
            const edges = await page.locator(".table-wrap").evaluateAll((all) => all.filter((t) => t.scrollWidth > t.clientWidth).map((t) => getComputedStyle(t).backgroundAttachment));
            equal(edges.filter((a) => !a.includes("scroll") || !a.includes("local")), [], "tables that go on beyond their edge, and do not show it");
            if (name === "metrics" && suffix === "phone")
                equal(edges.length, 1, "such tables");
            equal(await page.locator(".code").evaluateAll((all) => all.filter((c) =>
                c.querySelector(".button").getBoundingClientRect().left < c.querySelector("pre").getBoundingClientRect().right).length), 0, "buttons on code");
        });
    await fact(`${suffix}: nothing was complained of, and no request left the host`, async () => clean(page, s.url, [/status of 404/, /status of 410/]));
    await page.context().close();
}

await s.stop();
await finish();
