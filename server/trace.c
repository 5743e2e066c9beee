/* trace.c - jobs as slices on threads, in Chrome's Trace Event Format. */
#include "server/trace.h"
#include "schema/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COORDINATOR 1 /* the process; rank r is RANKS + r: 0 means the kernel to some readers */
#define RANKS 2

/* Threads of the coordinator: of whole jobs, and behind them of the runs of those that found none.
 */
enum { JOB_ROWS = 32, RUN_ROWS = 32 };

/* A job on the coordinator, or one rank's part of it. */
struct slice {
    uint32_t process, thread;  /* thread: from 1; 0 until it is placed */
    uint32_t rank;             /* in the group; of the coordinator's: 0 */
    uint64_t start_ns, end_ns; /* from the trace's beginning */
    const struct job_record *job;
};

struct trace {
    struct text *out;
    uint64_t from_us, now_us; /* wall */
    uint32_t n;
    struct slice *slices;
    uint32_t flows;
};

/* ---- moments of a job, from when it was received ---- */

enum moment { RECEIVED, CHECKED, ADMITTED, SENT, ENDED, MOMENTS };

/* From the first rank's begin to the last one's end. False: no rank has said. */
static bool ranks_span(const struct job_record *r, uint64_t *start_ns, uint64_t *end_ns)
{
    *start_ns = UINT64_MAX;
    *end_ns = 0;
    for (uint32_t i = 0; r->times && i < r->n; i++) {
        const struct rank_time *t = &r->times[i];

        if (t->end_ns && t->start_ns < *start_ns)
            *start_ns = t->start_ns;
        if (t->end_ns > *end_ns)
            *end_ns = t->end_ns;
    }
    return *end_ns > 0;
}

/* What has not happened yet is now. Each is not before the one before it. A rank may begin before
 * the last one has been sent its RUN. */
static void moments_of(const struct job_record *r, uint64_t now_us, uint64_t at_us[MOMENTS])
{
    uint64_t now = now_us > r->received_us ? now_us - r->received_us : 0;
    bool done = job_state_terminal(r->state), ran = r->attempts > 0;
    uint64_t queued = r->validated_us + r->queued_us, first_ns, last_ns;

    at_us[RECEIVED] = 0;
    at_us[CHECKED] = r->validated_us;
    at_us[ADMITTED] = r->state == JOB_waiting ? now : queued;
    at_us[SENT] = !ran ? now : r->sent_us ? r->sent_us : queued + r->dispatch_us;
    if (ranks_span(r, &first_ns, &last_ns) && first_ns / 1000 < at_us[SENT])
        at_us[SENT] = first_ns / 1000;
    at_us[ENDED] = done ? r->total_us : now;
    if (done && at_us[SENT] > at_us[ENDED])
        at_us[SENT] = at_us[ENDED];
    for (int m = CHECKED; m < MOMENTS; m++) {
        if (at_us[m] < at_us[m - 1])
            at_us[m] = at_us[m - 1];
    }
}

/* ---- slices, and which thread each is on ---- */

static uint64_t since(const struct trace *t, const struct job_record *r)
{
    return (r->received_us - t->from_us) * 1000;
}

static uint64_t moment_ns(const struct trace *t, const struct job_record *r, enum moment m)
{
    uint64_t at_us[MOMENTS];

    moments_of(r, t->now_us, at_us);
    return since(t, r) + at_us[m] * 1000;
}

static void add_slices(struct trace *t, const struct job_record *r)
{
    uint64_t from = since(t, r);

    t->slices[t->n++] = (struct slice){
        .process = COORDINATOR, .start_ns = from, .end_ns = moment_ns(t, r, ENDED), .job = r};
    for (uint32_t i = 0; r->times && i < r->n; i++) {
        if (r->times[i].end_ns)
            t->slices[t->n++] = (struct slice){.process = RANKS + r->ranks[i],
                                               .rank = i,
                                               .start_ns = from + r->times[i].start_ns,
                                               .end_ns = from + r->times[i].end_ns,
                                               .job = r};
    }
}

static int by_process_and_time(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;

    if (x->process != y->process)
        return x->process < y->process ? -1 : 1;
    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    return memcmp(x->job->id.b, y->job->id.b, sizeof x->job->id.b);
}

/* The first row that is free by then, or a new one; `most` where there is none. ends: when each
 * becomes free. */
static uint32_t take_row(uint64_t *ends, uint32_t *rows, uint32_t most, const struct slice *s)
{
    uint32_t i = 0;

    while (i < *rows && ends[i] > s->start_ns)
        i++;
    if (i == most)
        return most;
    *rows += i == *rows;
    ends[i] = s->end_ns;
    return i;
}

/* Where the rows do not suffice: it begins when the row that is free first is. */
static uint32_t squeeze(uint64_t *ends, uint32_t rows, struct slice *s)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < rows; i++) {
        if (ends[i] < ends[best])
            best = i;
    }
    s->start_ns = ends[best] < s->end_ns ? ends[best] : s->end_ns;
    if (ends[best] < s->end_ns)
        ends[best] = s->end_ns;
    return best;
}

/* Thousands of jobs may wait at once, and each would want a row. So many have one, whole; of the
 * others there is what follows their wait. */
static void place_jobs(const struct trace *t, struct slice *jobs, uint32_t n)
{
    uint64_t ends[JOB_ROWS] = {0}, run_ends[RUN_ROWS] = {0};
    uint32_t rows = 0, run_rows = 0;

    for (struct slice *s = jobs; s < jobs + n; s++) {
        uint32_t row = take_row(ends, &rows, JOB_ROWS, s);

        if (row < JOB_ROWS)
            s->thread = row + 1;
        else
            s->start_ns = moment_ns(t, s->job, SENT);
    }
    qsort(jobs, n, sizeof *jobs, by_process_and_time);
    for (struct slice *s = jobs; s < jobs + n; s++) {
        uint32_t row;

        if (s->thread)
            continue;
        row = take_row(run_ends, &run_rows, RUN_ROWS, s);
        s->thread = JOB_ROWS + 1 + (row < RUN_ROWS ? row : squeeze(run_ends, RUN_ROWS, s));
    }
}

/* Of one rank: it has few at a time. ends: room for n. */
static void place_parts(struct slice *parts, uint32_t n, uint64_t *ends)
{
    uint32_t rows = 0;

    for (struct slice *s = parts; s < parts + n; s++)
        s->thread = take_row(ends, &rows, n, s) + 1;
}

static int place_all(struct trace *t, struct err *e)
{
    uint64_t *ends = calloc(t->n ? t->n : 1, sizeof *ends);
    uint32_t n;

    if (!ends)
        return err_set(e, ERR_no_memory, "a trace");
    qsort(t->slices, t->n, sizeof *t->slices, by_process_and_time);
    for (struct slice *s = t->slices; s < t->slices + t->n; s += n) {
        n = 1;
        while (s + n < t->slices + t->n && s[n].process == s->process)
            n++;
        if (s->process == COORDINATOR)
            place_jobs(t, s, n);
        else
            place_parts(s, n, ends);
    }
    free(ends);
    return 0;
}

/* ---- events ---- */

/* Exact, and short. */
static void microseconds(struct text *out, const char *name, uint64_t ns)
{
    text_name(out, name);
    if (ns % 1000)
        text_format(out, "%llu.%03u", (unsigned long long)(ns / 1000), (unsigned)(ns % 1000));
    else
        text_format(out, "%llu", (unsigned long long)(ns / 1000));
    text_value_end(out);
}

static void place_write(struct text *out, const char *phase, const struct slice *s)
{
    text_string(out, "ph", phase);
    text_uint(out, "pid", s->process);
    text_uint(out, "tid", s->thread);
}

static void metadata(struct text *out, const char *what, const struct slice *s, const char *name,
                     uint64_t index)
{
    text_object(out, NULL);
    text_string(out, "name", what);
    place_write(out, "M", s);
    text_object(out, "args");
    if (name)
        text_string(out, "name", name);
    else
        text_uint(out, "sort_index", index);
    text_end_object(out);
    text_end_object(out);
}

/* What the reader writes beside a process and a thread. first: nothing was said of the process. */
static void name_place(struct text *out, const struct slice *s, bool first)
{
    char name[40] = "coordinator", thread[48];
    const char *row = name;
    uint32_t number = s->thread;

    if (s->process != COORDINATOR)
        snprintf(name, sizeof name, "rank %u", s->process - RANKS);
    else
        row = number <= JOB_ROWS ? "jobs" : "runs";
    if (s->process == COORDINATOR && number > JOB_ROWS)
        number -= JOB_ROWS;
    if (first) {
        metadata(out, "process_name", s, name, 0);
        metadata(out, "process_sort_index", s, NULL, s->process);
    }
    snprintf(thread, sizeof thread, number == 1 ? "%s" : "%s (%u)", row, number);
    metadata(out, "thread_name", s, thread, 0);
    metadata(out, "thread_sort_index", s, NULL, s->thread);
}

/* A complete event, open for its args. */
static void begin_event(struct text *out, const struct slice *s, const char *name,
                        const char *category, uint64_t start_ns, uint64_t end_ns)
{
    text_object(out, NULL);
    text_string(out, "name", name);
    text_string(out, "cat", category);
    place_write(out, "X", s);
    microseconds(out, "ts", start_ns);
    microseconds(out, "dur", end_ns - start_ns);
    text_object(out, "args");
}

static void end_event(struct text *out)
{
    text_end_object(out);
    text_end_object(out);
}

static uint64_t bytes_of(const struct job_record *r, const struct shape *s)
{
    return shape_count(s) * dtypes[r->dtype].size_bytes;
}

static void job_args(struct text *out, const struct job_record *r)
{
    char id[ID_TEXT];

    text_string(out, "job", id_format('j', &r->id, id));
    text_string(out, "op", r->op->name);
    text_string(out, "state", job_state_name(r->state));
    if (!record_has_tensor(r))
        return;
    text_string(out, "dtype", dtypes[r->dtype].name);
    text_uint(out, "input_bytes", bytes_of(r, &r->in_shape));
    text_uint(out, "output_bytes", bytes_of(r, &r->out_shape));
}

static uint64_t within(const struct slice *s, uint64_t at_ns)
{
    return at_ns < s->start_ns ? s->start_ns : at_ns > s->end_ns ? s->end_ns : at_ns;
}

/* Inside the job's slice, as far as that goes. */
static void inner(struct trace *t, const struct slice *s, const char *name, const char *category,
                  uint64_t start_ns, uint64_t end_ns)
{
    start_ns = within(s, start_ns);
    end_ns = within(s, end_ns);
    if (start_ns >= end_ns)
        return;
    begin_event(t->out, s, name, category, start_ns, end_ns);
    end_event(t->out);
}

static void phases_write(struct trace *t, const struct slice *s)
{
    const struct job_record *r = s->job;
    uint64_t at[MOMENTS], first_ns, last_ns;

    for (enum moment m = RECEIVED; m < MOMENTS; m++)
        at[m] = moment_ns(t, r, m);
    inner(t, s, "check", "phase", at[RECEIVED], at[CHECKED]);
    inner(t, s, r->called ? "ranks call" : "record", "phase", at[CHECKED], at[ADMITTED]);
    inner(t, s, "queue", "phase", at[ADMITTED], at[SENT]);
    inner(t, s, "run", "phase", at[SENT], at[ENDED]);
    if (!ranks_span(r, &first_ns, &last_ns))
        return;
    first_ns += at[RECEIVED];
    last_ns += at[RECEIVED];
    inner(t, s, "in the ranks", "span", first_ns > at[SENT] ? first_ns : at[SENT], last_ns);
}

static void coordinator_write(struct trace *t, const struct slice *s)
{
    const struct job_record *r = s->job;

    begin_event(t->out, s, r->op->name, "job", s->start_ns, s->end_ns);
    job_args(t->out, r);
    if (s->start_ns > since(t, r))
        microseconds(t->out, "waited_us", s->start_ns - since(t, r));
    if (r->label[0])
        text_string(t->out, "label", r->label);
    text_uint(t->out, "ranks", r->n);
    text_uint(t->out, "attempts", r->attempts);
    if (r->state == JOB_succeeded) {
        text_double(t->out, "algbw_GBps", record_algbw(r));
        text_double(t->out, "busbw_GBps", record_busbw(r));
    }
    if (r->error)
        text_string(t->out, "error", err_name(r->error->code));
    end_event(t->out);
    phases_write(t, s);
}

/* An arrow from the coordinator's "run" to the rank's part. */
static void flow(struct trace *t, const struct slice *from, uint64_t from_ns,
                 const struct slice *to)
{
    for (int end = 0; end < 2; end++) {
        text_object(t->out, NULL);
        text_string(t->out, "name", "RUN");
        text_string(t->out, "cat", "run");
        text_uint(t->out, "id", t->flows + 1);
        place_write(t->out, end ? "f" : "s", end ? to : from);
        if (end)
            text_string(t->out, "bp", "e");
        microseconds(t->out, "ts", end ? to->start_ns : from_ns);
        text_end_object(t->out);
    }
    t->flows++;
}

static const struct slice *coordinators(const struct trace *t, const struct job_record *r)
{
    for (uint32_t i = 0; i < t->n && t->slices[i].process == COORDINATOR; i++) {
        if (t->slices[i].job == r)
            return &t->slices[i];
    }
    return NULL;
}

static void rank_write(struct trace *t, const struct slice *s)
{
    const struct slice *of = coordinators(t, s->job);
    uint64_t sent_ns;

    begin_event(t->out, s, s->job->op->name, "collective", s->start_ns, s->end_ns);
    job_args(t->out, s->job);
    text_uint(t->out, "rank", s->rank);
    end_event(t->out);
    if (!of)
        return;
    sent_ns = within(of, moment_ns(t, s->job, SENT));
    if (sent_ns <= s->start_ns && sent_ns < of->end_ns)
        flow(t, of, sent_ns, s);
}

static int events_write(struct trace *t, struct err *e)
{
    uint32_t process = 0, *named_of; /* of each thread, the last process that it was named for */

    if (place_all(t, e) != 0)
        return -1;
    named_of = calloc(t->n + JOB_ROWS + RUN_ROWS + 1, sizeof *named_of);
    if (!named_of)
        return err_set(e, ERR_no_memory, "a trace");
    for (const struct slice *s = t->slices; s < t->slices + t->n; s++) {
        if (named_of[s->thread] != s->process)
            name_place(t->out, s, s->process != process);
        named_of[s->thread] = process = s->process;
        if (process == COORDINATOR)
            coordinator_write(t, s);
        else
            rank_write(t, s);
    }
    free(named_of);
    return 0;
}

static uint64_t begin_of(struct job_record *const *jobs, uint32_t n, uint64_t now_us)
{
    uint64_t from_us = now_us;

    for (uint32_t i = 0; i < n; i++) {
        if (jobs[i]->received_us < from_us)
            from_us = jobs[i]->received_us;
    }
    return from_us;
}

int trace_write(struct text *out, struct job_record *const *jobs, uint32_t n, uint64_t now_us,
                struct err *e)
{
    struct trace t = {.out = out, .from_us = begin_of(jobs, n, now_us), .now_us = now_us};
    uint64_t slices = 0;
    int rc;

    for (uint32_t i = 0; i < n; i++)
        slices += 1 + (jobs[i]->times ? jobs[i]->n : 0);
    if (slices > LIMIT_TRACE_SLICES)
        return err_set(e, ERR_parameter_range,
                       "these %u jobs have %llu parts, and a trace shows at most %u: ask for fewer",
                       n, (unsigned long long)slices, LIMIT_TRACE_SLICES);
    t.slices = calloc(slices ? slices : 1, sizeof *t.slices);
    if (!t.slices)
        return err_set(e, ERR_no_memory, "a trace");
    for (uint32_t i = 0; i < n; i++)
        add_slices(&t, jobs[i]);
    text_object(out, NULL);
    text_string(out, "displayTimeUnit", "ns");
    text_object(out, "otherData");
    text_time(out, "began_at", t.from_us);
    text_end_object(out);
    text_array(out, "traceEvents");
    rc = events_write(&t, e);
    text_end_array(out);
    text_end_object(out);
    free(t.slices);
    return rc;
}
