/* joblist.js - a list of jobs, newest first, that the service's pages fill and events keep true. */
import {get, query} from "./api.js";

const PAGE = 100;
const MOST = 500; // of one request

export class JobList {
    /* filter: {state, op, group, label}, those that are given. */
    constructor(filter = {}, {page = PAGE} = {}) {
        Object.assign(this, {filter, page, rows: [], complete: false, loading: false, loaded: false, again: false, problem: null, wanted: 0});
        this.meanwhile = new Map(); // what events said while a page was under way: they are newer than it
    }

    matches(job) {
        const f = this.filter;

        return (!f.state || job.state === f.state) && (!f.op || job.op === f.op) &&
            (!f.group || job.group === f.group) && (!f.label || job.label === f.label);
    }

    /* Where a job of this id is, or would be. */
    index(id) {
        let from = 0, to = this.rows.length;

        while (from < to) {
            const mid = (from + to) >> 1;

            if (this.rows[mid].id > id)
                from = mid + 1;
            else
                to = mid;
        }
        return from;
    }

    /* What an event says. A job that is older than all rows is not put in: a page will bring it. */
    apply(job) {
        if (this.loading)
            this.meanwhile.set(job.id, job);
        this.put(job);
        this.trim();
    }

    put(job) {
        const i = this.index(job.id), there = this.rows[i]?.id === job.id;

        if (!this.matches(job)) {
            if (there)
                this.rows.splice(i, 1);
        } else if (there)
            this.rows[i] = job;
        else if (i < this.rows.length || this.complete)
            this.rows.splice(i, 0, job);
    }

    forget(id) {
        const i = this.index(id);

        if (this.rows[i]?.id === id)
            this.rows.splice(i, 1);
    }

    /* New jobs push old ones out of a page that nobody asked to see more of. */
    trim() {
        const most = Math.max(this.wanted, this.page);

        if (this.rows.length >= most + this.page) {
            this.rows.length = most;
            this.complete = false;
        }
    }

    /* Asks for a page, and hands it to take(); what events said meanwhile is put on top. */
    async load(parameters, take) {
        if (this.loading)
            return;
        this.loading = true;
        try {
            const got = await get("v1/jobs" + query({...this.filter, ...parameters}));

            take(got.jobs);
            this.complete = got.next === null;
            this.meanwhile.forEach((job) => this.put(job));
            this.problem = null;
        } catch (e) {
            this.problem = e;
        }
        this.meanwhile.clear();
        this.loading = false;
        if (this.again)
            await this.reload();
    }

    /* The newest page again; as many rows as there were. */
    reload() {
        this.again = this.loading; // what is under way may be older than the reason to ask
        return this.load({limit: Math.min(MOST, Math.max(this.page, this.rows.length))}, (jobs) => {
            this.rows = jobs;
            this.loaded = true;
        });
    }

    /* The next page; any job's id is a cursor. */
    async more(limit = this.page) {
        const after = this.rows.at(-1)?.id;

        if (!after || this.complete)
            return;
        await this.load({limit, after}, (jobs) => {
            this.rows.push(...jobs.filter((job) => job.id < this.rows.at(-1).id));
            this.wanted = this.rows.length;
        });
    }
}
