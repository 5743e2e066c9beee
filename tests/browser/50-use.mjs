#!/usr/bin/env node
// The dashboard as people have it who use no mouse, like it dark, have no token yet, or no plots.
import {assert, clean, equal, fact, file, finish, live, look, newToken, open, service, until} from "./lib.mjs";

const s = await service();

for (let i = 0; i < 5; i++)
    await s.ask("POST", "/v1/jobs?wait=10", {op: "all_reduce_sum", inputs: [[1], [2], [3], [4]]});

await fact("the form for a token, light and dark", async () => {
    const tokens = file("tokens");
    newToken(tokens, "alice:user");
    const closed = await service({workers: 2, options: ["--token-file", tokens]});

    for (const colorScheme of ["light", "dark"]) {
        const page = await open({colorScheme});
        await page.goto(`${closed.url}/`);
        await page.getByLabel("Token").waitFor();
        await look(page, "signin", colorScheme);
        await page.context().close();
    }
    await closed.stop();
});

await fact("without uPlot (WEB=none) the metrics are figures, and the page says so", async () => {
    const page = await open();

    await page.route("**/ui/uplot.*", (r) => r.fulfill({contentType: r.request().url().endsWith("js") ? "text/javascript" : "text/css", body: ""}));
    await page.goto(`${s.url}/#/metrics`);
    await page.getByText("built without the plots").nth(3).waitFor();
    await page.locator(".legend dd").nth(1).waitFor();
    clean(page, s.url);
    await page.context().close();
});

await fact("dark and light are a button, and are remembered", async () => {
    const page = await open({colorScheme: "light"});
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

    await page.goto(`${s.url}/`);
    await live(page);
    const light = await paper();
    await page.getByRole("button", {name: "Dark colours"}).click();
    await until("it is dark", async () => (await paper()) !== light);
    await page.reload();
    await page.getByRole("button", {name: "Light colours"}).waitFor();
    assert(await paper() !== light, "it forgot");
    await page.context().close();
});

await fact("by keys alone: to the playground, another operation, inputs, run, its timeline, and the list of jobs", async () => {
    const page = await open();
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.name || document.activeElement.tagName);
    const tabTo = async (what) => {
        for (let i = 0; i < 40; i++) {
            await page.keyboard.press("Tab");
            if (await page.evaluate((w) => document.activeElement?.matches(w), what))
                break;
        }
        assert(await page.evaluate((w) => document.activeElement?.matches(w), what), `Tab does not come to ${what}, but to ${await focused()}`);
        const outline = await page.evaluate(() => [document.activeElement, document.activeElement.parentElement].map((x) => getComputedStyle(x).outlineStyle));
        assert(outline.includes("solid"), `one does not see that ${what} has the focus`);
    };

    await page.goto(`${s.url}/`);
    await live(page);
    await page.keyboard.press("Tab");
    equal(await focused(), "To the content", "the first stop");
    await tabTo('a[href="#/playground"]');
    await page.keyboard.press("Enter");
    await page.getByRole("heading", {name: "Playground"}).waitFor();
    await tabTo('select[name="op"]');
    await page.keyboard.type("reduce_max");
    await page.getByText("The root gets the maximum.").waitFor();
    await tabTo('textarea[name="input-0"]');
    await page.keyboard.press("Control+A");
    await page.keyboard.type("[7, 8, 9]");
    for (let r = 1; r < 4; r++) {
        await tabTo(`textarea[name="input-${r}"]`);
        await page.keyboard.press("Control+A");
        await page.keyboard.type(`[${r}, ${r * 10}, 0]`);
    }
    await page.keyboard.press("Control+Enter");
    const output = page.getByRole("group", {name: "Output of rank 0"}).locator(".elements span");
    await output.nth(2).waitFor();
    equal(await output.allTextContents(), ["7", "30", "9"], "the output");
    await tabTo('a[href="#/jobs"]');
    await page.keyboard.press("Enter");
    await page.locator("tbody a").nth(3).waitFor();
    await tabTo("[data-rove]");
    const first = await page.evaluate(() => document.activeElement.dataset.job);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowUp");
    const second = await page.evaluate(() => document.activeElement.dataset.job);
    assert(second && second < first, "arrows do not go down the list");
    await page.keyboard.press("Enter");
    await until("the job is open", () => page.url().endsWith(second));
    clean(page, s.url);
});

await s.stop();
await finish();
