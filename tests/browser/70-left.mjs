#!/usr/bin/env node
// A test that is stopped, or breaks off, leaves no directory and no process behind.
import {spawn} from "node:child_process";
import {mkdirSync, readdirSync} from "node:fs";
import {ROOT, equal, fact, file, finish, until} from "./lib.mjs";

const BEGIN = `import {service} from "${ROOT}/tests/browser/lib.mjs";
const s = await service({workers: 1});
console.log("pid " + s.child.pid);
`;

const ENDS = [
    ["SIGTERM", "setInterval(() => {}, 1000);", (child) => child.kill("SIGTERM")],
    ["SIGINT", "setInterval(() => {}, 1000);", (child) => child.kill("SIGINT")],
    ["SIGHUP", "setInterval(() => {}, 1000);", (child) => child.kill("SIGHUP")],
    ["an error that nobody catches", `throw new Error("on purpose");`, () => {}],
    ["its own end, too early", "process.exit(1);", () => {}],
];

function alive(pid) {
    try {
        return process.kill(pid, 0);
    } catch {
        return false;
    }
}

for (const [i, [name, rest, end]] of ENDS.entries())
    await fact(`after ${name} nothing is left`, async () => {
        const tmp = file(`tmp${i}`), shm = file(`shm${i}`);

        mkdirSync(tmp);
        mkdirSync(shm);
        const child = spawn(process.execPath, ["--input-type=module", "-e", BEGIN + rest], {env: {...process.env, TMPDIR: tmp, TUTTI_TEST_SHM: shm}});
        const ended = new Promise((done) => child.on("exit", (status, signal) => done(status ?? signal)));
        let out = "";
        child.stdout.on("data", (d) => { out += d; });
        const pid = Number(await until("its server runs", () => /^pid (\d+)$/m.exec(out)?.[1]));
        end(child);
        equal(await ended, 1, "its status");
        equal([...readdirSync(tmp), ...readdirSync(shm)], [], "what is left");
        await until("its server has ended", () => !alive(pid));
    });

await finish();
