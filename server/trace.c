/* trace.c - jobs as slices on threads, in Chrome's Trace Event Format. */
#include "server/trace.h"
#include "schema/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COORDINATOR 1 /* the process; rank r is RANKS + r: 0 means the kernel to some readers */
#define RANKS 2

/* A job on the coordinator, or one rank's part of it. */
struct slice {
    uint32_t process, thread;  /* thread: from 1, once it is placed */
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

/* What has not happened yet is now. Each is not before the one before it. */
static void moments_of(const struct job_record *r, uint64_t now_us, uint64_t at_us[MOMENTS])
{
    uint64_t now = now_us > r->received_us ? now_us - r->received_us : 0;
    bool done = job_state_terminal(r->state), ran = r->attempts > 0;
    uint64_t queued = r->validated_us + r->queued_us;

    at_us[RECEIVED] = 0;
    at_us[CHECKED] = r->validated_us;
    at_us[ADMITTED] = r->state == JOB_waiting ? now : queued;
    at_us[SENT] = !ran ? now : r->sent_us ? r->sent_us : queued + r->dispatch_us;
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

static void add_slices(struct trace *t, const struct job_record *r)
{
    uint64_t at_us[MOMENTS], from = since(t, r);

    moments_of(r, t->now_us, at_us);
    t->slices[t->n++] = (struct slice){
        .process = COORDINATOR, .start_ns = from, .end_ns = from + at_us[ENDED] * 1000, .job = r};
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

/* The first thread that is free by then. ends: when each becomes so. */
static void place(struct slice *s, uint64_t *ends, uint32_t *threads)
{
    uint32_t i = 0;

    while (i < *threads && ends[i] > s->start_ns)
        i++;
    *threads += i == *threads;
    ends[i] = s->end_ns;
    s->thread = i + 1;
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

    if (s->process != COORDINATOR)
        snprintf(name, sizeof name, "rank %u", s->process - RANKS);
    if (first) {
        metadata(out, "process_name", s, name, 0);
        metadata(out, "process_sort_index", s, NULL, s->process);
    }
    snprintf(thread, sizeof thread, s->thread == 1 ? "%s" : "%s (%u)",
             s->process == COORDINATOR ? "jobs" : name, s->thread);
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
    if (r->called && !r->shaped)
        return;
    text_string(out, "dtype", dtypes[r->dtype].name);
    text_uint(out, "input_bytes", bytes_of(r, &r->in_shape));
    text_uint(out, "output_bytes", bytes_of(r, &r->out_shape));
}

static void phase(struct trace *t, const struct slice *s, const char *name,
                  const uint64_t at_us[MOMENTS], enum moment from, enum moment to)
{
    if (at_us[from] == at_us[to])
        return;
    begin_event(t->out, s, name, "phase", s->start_ns + at_us[from] * 1000,
                s->start_ns + at_us[to] * 1000);
    end_event(t->out);
}

static void coordinator_write(struct trace *t, const struct slice *s)
{
    const struct job_record *r = s->job;
    uint64_t at_us[MOMENTS];

    moments_of(r, t->now_us, at_us);
    begin_event(t->out, s, r->op->name, "job", s->start_ns, s->end_ns);
    job_args(t->out, r);
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
    phase(t, s, "check", at_us, RECEIVED, CHECKED);
    phase(t, s, r->called ? "ranks call" : "record", at_us, CHECKED, ADMITTED);
    phase(t, s, "queue", at_us, ADMITTED, SENT);
    phase(t, s, "run", at_us, SENT, ENDED);
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
    uint64_t at_us[MOMENTS];

    begin_event(t->out, s, s->job->op->name, "collective", s->start_ns, s->end_ns);
    job_args(t->out, s->job);
    text_uint(t->out, "rank", s->rank);
    end_event(t->out);
    moments_of(s->job, t->now_us, at_us);
    if (of && of->start_ns + at_us[SENT] * 1000 <= s->start_ns && at_us[SENT] < at_us[ENDED])
        flow(t, of, of->start_ns + at_us[SENT] * 1000, s);
}

static int events_write(struct trace *t, struct err *e)
{
    uint64_t *ends = calloc(t->n ? t->n : 1, sizeof *ends);
    uint32_t process = 0, threads = 0, named = 0;

    if (!ends)
        return err_set(e, ERR_no_memory, "a trace");
    qsort(t->slices, t->n, sizeof *t->slices, by_process_and_time);
    for (uint32_t i = 0; i < t->n; i++) {
        struct slice *s = &t->slices[i];

        if (s->process != process)
            threads = named = 0;
        place(s, ends, &threads);
        if (threads > named)
            name_place(t->out, s, named == 0);
        named = threads;
        process = s->process;
        if (process == COORDINATOR)
            coordinator_write(t, s);
        else
            rank_write(t, s);
    }
    free(ends);
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
