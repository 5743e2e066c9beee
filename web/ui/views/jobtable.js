/* jobtable.js - jobs as rows: one stop of the Tab key, arrows from row to row. */
import {h, memo} from "../dom.js";
import {duration, jobRate, list} from "../format.js";
import {opName, pill, rankChip, roving, rovingOne, when} from "../parts.js";
import {href} from "../router.js";

let cache = new WeakMap(), cacheTick = 0;

function outcome(job) {
    if (job.state === "waiting" && job.missing?.length)
        return h("span", {class: "missing-list"}, "missing ", job.missing.slice(0, 6).map((r) => rankChip(r, "is-missing")), job.missing.length > 6 ? "…" : null);
    if (job.state === "waiting" && job.waits_for?.length)
        return h("span", {class: "quiet"}, `waits for ${job.waits_for.length} ${job.waits_for.length === 1 ? "job" : "jobs"}`);
    if (job.error)
        return h("code", {class: "is-bad"}, job.error.code);
    return h("span", {class: "number"}, jobRate(job.busbw_GBps));
}

function row(job) {
    return h("tr", {key: job.id, class: `job is-${job.state}`},
        h("td", {class: "cell-op"}, h("a", {href: href(["jobs", job.id]), "data-rove": true, "data-job": job.id}, opName(job.op)),
          job.label ? h("span", {class: "label", title: job.label}, job.label) : null, job.attempts > 1 ? h("span", {class: "tag is-warn"}, `run ${job.attempts}`) : null),
        h("td", {class: "cell-state"}, pill(job.state)),
        h("td", {class: "cell-group"}, job.group ?? `ranks ${list(job.ranks.slice(0, 4))}${job.ranks.length > 4 ? " …" : ""}`,
          job.owner ? h("span", {class: "quiet"}, ` of ${job.owner}`) : null),
        h("td", {class: "cell-outcome"}, outcome(job)),
        h("td", {class: "cell-time number"}, duration(job.timeline.total_us)),
        h("td", {class: "cell-when quiet"}, when(job.timeline.received_at)));
}

/* caption: what these jobs are, for those who do not see it. */
export function jobTable(jobs, caption) {
    const tick = Math.floor(Date.now() / 5000); // "5 s ago" becomes "10 s ago"

    if (tick !== cacheTick) {
        cacheTick = tick;
        cache = new WeakMap();
    }
    return h("div", {class: "table-wrap"}, h("table", {class: "jobs"},
        h("caption", {class: "off-screen"}, caption),
        h("thead", null, h("tr", null, [["Operation", "op"], ["State", "state"], ["Group", "group"], ["Outcome", "outcome"], ["Took", "time"], ["Received", "when"]]
            .map(([name, cell]) => h("th", {key: cell, class: `cell-${cell}`, scope: "col"}, name)))),
        h("tbody", {onkeydown: roving, mount: rovingOne, update: rovingOne}, jobs.map((job) => memo(cache, job, row)))));
}
