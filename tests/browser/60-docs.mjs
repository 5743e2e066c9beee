#!/usr/bin/env node
// The pages under /docs: Swagger UI shows the whole document under our policy, light, dark and on a phone; an error's page is read
// by axe; behind a prefix with a token what is tried is answered, and no address has the token.
import {assert, clean, equal, fact, file, finish, fits, newToken, nginx, open, service, shot, until, violations} from "./lib.mjs";

const s = await service({workers: 2});
const operations = (await (await fetch(`${s.url}/openapi.yaml`)).text()).match(/^      operationId: (?!head)/gm).length;
// Swagger UI's own ways: its headings begin anew in each part, its title is outside of its landmarks, and there is a button
// to copy inside of one that opens.
const ITS_OWN = ["heading-order", "region", "nested-interactive"];
const LOOKS = {
    light: {colorScheme: "light"},
    dark: {colorScheme: "dark"},
    phone: {colorScheme: "light", viewport: {width: 390, height: 844}, hasTouch: true, isMobile: true},
    narrow: {colorScheme: "dark", viewport: {width: 320, height: 640}, hasTouch: true, isMobile: true},
};

for (const [suffix, options] of Object.entries(LOOKS)) {
    const page = await open({reducedMotion: "reduce", ...options});

    await fact(`${suffix}: every operation is there, and one opens with its example`, async () => {
        await page.goto(`${s.url}/docs`);
        await until("all are shown", async () => (await page.locator(".opblock").count()) >= operations);
        await shot(page, `docs-${suffix}`);
        equal(await violations(page, ITS_OWN), [], "/docs");
        await page.locator("#operations-jobs-createJob .opblock-summary-control").click();
        await page.locator("#operations-jobs-createJob").getByText("all_reduce_sum").first().waitFor();
        await shot(page, `docs-job-${suffix}`);
        await fits(page, "/docs with an operation open");
        clean(page, s.url);
    });
    await fact(`${suffix}: axe finds no violation on the pages of errors, and they fit`, async () => {
        for (const path of ["/docs/errors", "/docs/errors/not_divisible", "/docs/errors/quota"]) {
            await page.goto(s.url + path);
            await shot(page, `${path.slice(1).replaceAll("/", "-")}-${suffix}`);
            equal(await violations(page), [], path);
            await fits(page, path);
        }
        clean(page, s.url);
    });
    await page.context().close();
}

await fact("behind a prefix, what is tried with a token is answered, and no address has it", async () => {
    const tokens = file("tokens"), alice = newToken(tokens, "alice:user");
    const closed = await service({workers: 2, options: ["--token-file", tokens]});
    const n = await nginx(`location /tutti/ { proxy_pass ${closed.url}/; }`);
    const page = await open();

    await page.goto(`${n.url}/tutti/docs`);
    await page.getByRole("button", {name: "Authorize"}).click();
    await page.locator(".modal-ux input").fill(alice);
    await page.locator(".modal-ux").getByRole("button", {name: /Apply|Authorize/}).click();
    await page.locator(".modal-ux").getByRole("button", {name: "Close"}).click();
    const block = page.locator("#operations-service-service");
    await block.locator(".opblock-summary-control").click();
    await block.getByRole("button", {name: "Try it out"}).click();
    await block.getByRole("button", {name: "Execute"}).click();
    await block.locator(".live-responses-table").getByText("world_size").first().waitFor();
    assert(page.notes.asked.includes(`${n.url}/tutti/v1`), page.notes.asked.join(" "));
    assert(!page.notes.asked.some((url) => url.includes(alice.split(".")[1])), "an address has the token");
    clean(page, n.url);
    await page.context().close();
    await n.stop();
    await closed.stop();
});

await fact("without the library (WEB=none) the page says where the document is", async () => {
    const page = await open();

    await page.route("**/ui/swagger-ui.*", (r) => r.fulfill({contentType: r.request().url().endsWith("js") ? "text/javascript" : "text/css", body: ""}));
    await page.goto(`${s.url}/docs`);
    equal(await page.locator("main a").getAttribute("href"), "openapi.yaml");
    equal(await violations(page), [], "/docs");
    await page.context().close();
});

await s.stop();
await finish();
