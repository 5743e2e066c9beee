// lib.mjs - a service of the test's own, a proxy before it, and a browser that notes whatever it asks for and complains of.
//
// A test calls fact(sentence, async () => {...}) for each thing that holds, and finish() at its end; run.sh counts the facts.
// TUTTI_TEST_SHOTS names a directory for screenshots.
import {execFileSync, spawn} from "node:child_process";
import {existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync} from "node:fs";
import {createServer} from "node:net";
import {createRequire} from "node:module";
import {tmpdir} from "node:os";
import {dirname, join, resolve} from "node:path";
import {fileURLToPath} from "node:url";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const BUILD = resolve(ROOT, process.env.BUILD ?? "build");
const FETCHED = join(ROOT, "build/browser");
const PATIENCE_MS = 30000;

execFileSync(join(ROOT, "tests/browser/fetch.sh"), [FETCHED], {stdio: ["ignore", "inherit", "inherit"]});
const require = createRequire(join(FETCHED, "x.js"));
const {chromium} = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const here = mkdtempSync(join(tmpdir(), "tutti-browser-"));
const places = new Set([here]); // directories that nobody needs after the test
const children = new Set();
let passed = 0, failed = 0, browser = null, number = 0;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export function assert(holds, text) {
    if (!holds)
        throw new Error(text);
}

export function equal(got, wanted, what = "it") {
    const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)];

    assert(a === b, `${what} is ${a}, should be ${b}`);
}

export async function until(what, ask, ms = PATIENCE_MS) {
    const end = Date.now() + ms;

    for (;;) {
        const got = await ask();

        if (got)
            return got;
        assert(Date.now() < end, `never came true: ${what}`);
        await sleep(50);
    }
}

// ---- processes ----

function start(command, args, options) {
    const child = spawn(command, args, {stdio: ["ignore", "pipe", "pipe"], ...options});

    children.add(child);
    child.out = "";
    child.log = "";
    child.stdout.on("data", (d) => { child.out += d; });
    child.stderr.on("data", (d) => { child.log += d; });
    child.ended = new Promise((done) => child.on("exit", (status, signal) => {
        children.delete(child);
        done(status ?? signal);
    }));
    return child;
}

// Again, while one that is being killed still writes there.
function removePlace(path) {
    rmSync(path, {recursive: true, force: true, maxRetries: 10, retryDelay: 50});
    places.delete(path);
}

// A server as the other tests have it: {url, stop()}.
export async function service({workers = 4, options = []} = {}) {
    const data = join(here, `data-${++number}`);
    const arena = mkdtempSync(join(process.env.TUTTI_TEST_SHM ?? (existsSync("/dev/shm") ? "/dev/shm" : here), "browser-"));
    places.add(arena);
    const child = start(join(BUILD, "tutti-server"), ["--listen", "127.0.0.1:0", "--workers", String(workers), "--data-dir", data,
                                                      "--arena-dir", join(arena, "arena"), "--arena-size", "64M", ...options]);
    const url = await until("the server listens", () => {
        assert(child.exitCode === null, `the server left: ${child.log}`);
        return /listening on (\S+)\n/.exec(child.out)?.[1];
    });

    return {
        url, child,
        async stop() {
            child.kill("SIGTERM");
            const status = await child.ended;

            removePlace(arena);
            equal(status, 0, "the server's status");
            assert(!/ERROR: \w*Sanitizer|runtime error:/.test(child.log), `a sanitizer complains: ${child.log}`);
        },
        async ask(method, path, body, token) {
            const answer = await fetch(url + path, {method, body: body === undefined ? undefined : JSON.stringify(body),
                                                    headers: {"Content-Type": "application/json", ...(token ? {Authorization: `Bearer ${token}`} : {})}});
            return answer.json();
        },
    };
}

export function newToken(file, who) {
    return execFileSync(join(BUILD, "tutti-server"), ["--token-file", file, "--new-token", who], {encoding: "utf8"}).trim();
}

// What a program prints that has the client.
export function python(program, environment = {}, input = "") {
    return execFileSync("/usr/bin/python3", ["-c", program], {encoding: "utf8", input, env: {...process.env, ...environment, PYTHONPATH: join(ROOT, "web/notebook")}});
}

export function file(name) {
    return join(here, name);
}

function freePort() {
    return new Promise((done) => {
        const s = createServer().listen(0, "127.0.0.1", () => {
            const {port} = s.address();
            s.close(() => done(port));
        });
    });
}

// Debian's nginx with a configuration, a directory and a port of the test's own. locations: text of its server block.
export async function nginx(locations, port) {
    const dir = join(here, `nginx-${++number}`);

    port ??= await freePort();

    mkdirSync(dir);
    writeFileSync(join(dir, "nginx.conf"), `daemon off;
master_process off;
pid ${dir}/pid;
error_log stderr error;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path ${dir}/body;
    proxy_temp_path ${dir}/proxy;
    fastcgi_temp_path ${dir}/fastcgi;
    uwsgi_temp_path ${dir}/uwsgi;
    scgi_temp_path ${dir}/scgi;
    server {
        listen 127.0.0.1:${port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        ${locations}
    }
}
`);
    const program = [join(ROOT, "build/unpacked/nginx/usr/sbin/nginx"), "/usr/sbin/nginx"].find(existsSync) ?? "nginx";
    const child = start(program, ["-e", "stderr", "-p", dir, "-c", join(dir, "nginx.conf")]);
    await until("nginx listens", async () => {
        assert(child.exitCode === null, `nginx left: ${child.log}`);
        return fetch(`http://127.0.0.1:${port}/`).then(() => true, () => false);
    });
    return {url: `http://127.0.0.1:${port}`, port, async stop() {
        child.kill("SIGTERM");
        await child.ended;
    }};
}

// ---- the browser ----

// A page in a context of its own. page.notes: what it asked for and complained of.
export async function open(options = {}) {
    browser ??= await chromium.launch({
        executablePath: process.env.TUTTI_TEST_CHROMIUM ?? "/usr/bin/chromium",
        env: {...process.env, HOME: here}, // where it would leave traces
        args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-breakpad"],
    });
    const context = await browser.newContext({viewport: {width: 1280, height: 860}, ...options});
    const page = await context.newPage();

    page.setDefaultTimeout(PATIENCE_MS);
    page.notes = {complaints: [], asked: [], resumed: []};
    page.on("console", (m) => m.type() === "error" && page.notes.complaints.push(`console: ${m.text()} ${m.location().url}`));
    page.on("pageerror", (e) => page.notes.complaints.push(`error: ${e.stack}`));
    page.on("dialog", (d) => {
        page.notes.complaints.push(`dialog: ${d.message()}`);
        d.dismiss();
    });
    context.on("request", (r) => {
        page.notes.asked.push(r.url());
        if (r.url().endsWith("/v1/events"))
            page.notes.resumed.push(r.headers()["last-event-id"] ?? null);
    });
    return page;
}

// What must hold of every page that was opened: nothing was complained of but what a test caused on purpose, and no request
// went anywhere but to the service.
export function clean(page, origin, allowed = []) {
    const bad = page.notes.complaints.filter((text) => !allowed.some((pattern) => pattern.test(text)));
    const strange = page.notes.asked.filter((url) => !url.startsWith(origin) && !/^(blob|data):/.test(url));

    assert(bad.length === 0, `complaints: ${bad.join("; ")}`);
    assert(strange.length === 0, `requests left the host: ${strange.join(" ")}`);
    assert(page.notes.asked.length > 5, "the page asked for nothing");
}

// Goes to a page of the dashboard that is open already.
export async function go(page, hash) {
    await page.evaluate((h) => { location.hash = h; }, hash);
}

// A photograph, where TUTTI_TEST_SHOTS says where to.
export async function shot(page, name) {
    const dir = process.env.TUTTI_TEST_SHOTS;

    if (!dir)
        return;
    mkdirSync(dir, {recursive: true});
    await page.screenshot({path: join(dir, `${name}.png`), fullPage: true});
}

// What axe finds, without these of its rules.
export async function violations(page, but = []) {
    await page.evaluate(AXE);
    const rules = Object.fromEntries(but.map((name) => [name, {enabled: false}]));
    const found = await page.evaluate((r) => window.axe.run(document, {resultTypes: ["violations"], rules: r}), rules);

    return found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.html} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
}

// That axe finds no violation, and that nothing is wider than the screen; a photograph, too.
export async function look(page, name, suffix) {
    await page.locator(".toast:not(.is-shown)").waitFor({state: "attached"});
    await shot(page, `${name}-${suffix}`);
    await fits(page, name);
    equal(await violations(page), [], name);
}

// That nothing is wider than the screen, or than its card. Not innerWidth: on a phone that grows with what is too wide.
export async function fits(page, name) {
    const [wide, cards] = await page.evaluate(() => [
        document.documentElement.scrollWidth - document.documentElement.clientWidth,
        [...document.querySelectorAll(".card")].filter((c) => c.scrollWidth > c.clientWidth).map((c) => `"${c.innerText.slice(0, 60)}": ${c.scrollWidth - c.clientWidth}`),
    ]);
    assert(wide <= 0, `${name} is ${wide} pixels wider than the screen`);
    equal(cards, [], `${name}: what is wider than its card`);
}

export async function live(page) {
    await page.locator('[data-mode="live"]').waitFor();
}

// ---- facts ----

export async function fact(sentence, test) {
    try {
        await test();
        passed++;
        console.log(`ok   ${sentence}`);
    } catch (e) {
        failed++;
        console.log(`FAIL ${sentence}\n${e.stack}`);
    }
}

export async function finish() {
    await browser?.close();
    for (const child of children)
        child.kill("SIGKILL");
    await Promise.all([...children].map((child) => child.ended));
    console.log(`CASES ${passed} ${failed}`);
    process.exit(failed > 0 ? 1 : 0);
}

// run.sh stops a test that takes too long with SIGTERM.
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "uncaughtException", "unhandledRejection"])
    process.on(signal, (e) => {
        console.log(`stopped: ${e?.stack ?? e}`);
        browser?.close();
        process.exit(1);
    });

// However it ends, nothing of it stays.
process.on("exit", () => {
    for (const child of children)
        child.kill("SIGKILL");
    places.forEach(removePlace);
});

// The sources that the server carries, for tests of what stands in them.
export function sources() {
    const dir = join(ROOT, "web/ui");

    return readdirSync(dir, {recursive: true}).filter((name) => name.endsWith(".js")).map((name) => [name, readFileSync(join(dir, name), "utf8")]);
}
