/* api_events.c - server-sent events: what happens to jobs, workers and groups, as it happens. */
#include "server/events.h"
#include "server/api.h"

#include <stdlib.h>
#include <string.h>

/* Lives as long as the request, and as a message that its client has gone. */
struct stream {
    struct events_reader reader;
    struct request *rq;
    struct job_wait wait; /* of one job's stream: what the job is when the stream begins */
    struct core_msg gone;
    atomic_uint refs;
    struct text text; /* to be sent, from `sent` on */
    size_t sent;
    bool ends; /* behind the text */
};

static void stream_unref(struct stream *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    record_free(s->wait.job);
    text_fini(&s->text);
    free(s);
}

static void stream_free(void *state)
{
    struct stream *s = state;

    events_close(&s->reader);
    stream_unref(s);
}

/* ---- events as text ---- */

static void begin_event(struct text *t, const char *name, uint64_t number)
{
    text_format(t, "event: %s\nid: %llu-%llu\ndata: ", name, (unsigned long long)events_epoch(),
                (unsigned long long)number);
    t->comma = false;
}

static void end_event(struct text *t)
{
    text_raw(t, "\n\n", 2);
    t->comma = false;
}

static void group_event(struct text *t, const struct group *g, bool deleted)
{
    text_object(t, NULL);
    group_name_write(t, "name", g->name);
    text_array(t, "ranks");
    for (uint32_t i = 0; i < g->n; i++)
        text_uint(t, NULL, g->ranks[i]);
    text_end_array(t);
    text_bool(t, "deleted", deleted);
    text_end_object(t);
}

/* Under the ring's mutex: a copy of the event would be as long. */
static void show(void *arg, const struct event *x)
{
    static const char *const names[] = {[EVENT_job] = "job",
                                        [EVENT_worker] = "worker",
                                        [EVENT_group] = "group",
                                        [EVENT_group_deleted] = "group"};
    struct stream *s = arg;

    begin_event(&s->text, names[x->kind], x->number);
    if (x->kind == EVENT_job)
        job_doc_write(&s->text, x->job, SHOWN_NOT);
    else if (x->kind == EVENT_worker)
        worker_doc_write(&s->text, x->worker);
    else
        group_event(&s->text, x->group, x->kind == EVENT_group_deleted);
    end_event(&s->text);
    s->ends = !id_is_zero(&s->reader.job) && job_state_terminal(x->job->state);
}

static void gap(struct text *t)
{
    static const char text[] = "event: gap\ndata: {}\n\n";

    text_raw(t, text, sizeof text - 1);
}

/* ---- the stream ---- */

static void on_wake(struct events_reader *r)
{
    http_resume(CORE_OWNER(r, struct stream, reader)->rq);
}

static void on_gone(struct core_msg *m)
{
    struct stream *s = CORE_OWNER(m, struct stream, gone);

    events_rouse(&s->reader);
    stream_unref(s);
}

static void client_gone(struct request *rq)
{
    struct stream *s = rq->state;

    atomic_fetch_add(&s->refs, 1);
    s->gone.run = on_gone;
    core_post(&s->gone);
}

static long send_text(struct stream *s, char *buf, size_t max)
{
    size_t n = s->text.len - s->sent < max ? s->text.len - s->sent : max;

    memcpy(buf, s->text.data + s->sent, n);
    s->sent += n;
    if (s->sent == s->text.len)
        s->sent = s->text.len = 0;
    return (long)n;
}

static long stream_bytes(struct request *rq, char *buf, size_t max)
{
    struct stream *s = rq->state;

    for (;;) {
        if (s->text.failed)
            return -1;
        if (s->text.len > s->sent)
            return send_text(s, buf, max);
        if (s->ends)
            return -1;
        switch (events_read(&s->reader, show, s)) {
        case EVENTS_ONE:
            continue;
        case EVENTS_GAP:
            gap(&s->text);
            continue;
        case EVENTS_OVER:
            return -1;
        default:
            break;
        }
        if (s->reader.beat) {
            s->reader.beat = false;
            text_raw(&s->text, ":\n\n", 3);
            continue;
        }
        http_suspend(rq, client_gone);
        if (!events_wait(&s->reader))
            http_resume(rq);
        return 0;
    }
}

static struct stream *stream_new(struct request *rq, struct err *e)
{
    struct stream *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ERR_no_memory, "a stream of events");
        return NULL;
    }
    s->rq = rq;
    s->reader.wake = on_wake;
    s->reader.account = rq->visitor.account;
    s->reader.scope = visitor_scope(&rq->visitor);
    atomic_init(&s->refs, 1);
    text_init(&s->text);
    s->text.up = rq->reply.text.up;
    request_state(rq, s, stream_free);
    return events_open(&s->reader, e) != 0 ? NULL : s;
}

/* A comment at once, so that the client knows that it is heard. */
static int begin(struct request *rq)
{
    struct stream *s = rq->state;
    static const char hello[] = ": tutti\nretry: 1000\n\n";
    struct text rest = s->text;

    s->text = (struct text){.up = rest.up};
    text_raw(&s->text, hello, sizeof hello - 1);
    if (rest.len > 0)
        text_raw(&s->text, rest.data, rest.len);
    text_fini(&rest);
    reply_header(rq, "X-Accel-Buffering", "no");
    return reply_stream(rq, 200, "text/event-stream", stream_bytes);
}

/* ---- everything ---- */

/* "EPOCH-NUMBER". */
static int read_last(const char *text, uint64_t *epoch, uint64_t *number, struct err *e)
{
    size_t first = strspn(text, "0123456789"), second;

    if (first > 0 && first < 20 && text[first] == '-') {
        second = strspn(text + first + 1, "0123456789");
        if (second > 0 && second < 20 && text[first + 1 + second] == '\0') {
            *epoch = strtoull(text, NULL, 10);
            *number = strtoull(text + first + 1, NULL, 10);
            return 0;
        }
    }
    return err_set(e, ERR_bad_header, "Last-Event-ID is the id of an event, as it came");
}

int api_events(struct request *rq, struct err *e)
{
    const char *last = request_header(rq, "Last-Event-ID");
    uint64_t epoch = 0, number = 0;
    struct stream *s;

    if (last && *last && read_last(last, &epoch, &number, e) != 0)
        return -1;
    s = stream_new(rq, e);
    if (!s)
        return -1;
    if (last && *last && (epoch != events_epoch() || !events_resume(&s->reader, number)))
        gap(&s->text);
    return begin(rq);
}

/* ---- one job ---- */

static void job_known(struct job_wait *w)
{
    struct stream *s = CORE_OWNER(w, struct stream, wait);

    events_now(&s->reader); /* what comes next is newer than what w says */
    http_resume(s->rq);
}

static void watcher_gone(struct request *rq)
{
    job_wait_drop(&((struct stream *)rq->state)->wait);
}

static int job_found(struct request *rq, struct err *e)
{
    struct stream *s = rq->state;

    if (job_settle(&s->wait, &s->wait.id, e) != 0)
        return -1;
    begin_event(&s->text, "job", s->reader.next - 1);
    job_doc_write(&s->text, s->wait.job, SHOWN_NOT);
    end_event(&s->text);
    s->ends = job_state_terminal(s->wait.job->state);
    return begin(rq);
}

int api_job_events(struct request *rq, struct err *e)
{
    struct stream *s;
    struct id id;

    if (job_id_read(rq, &id, e) != 0)
        return -1;
    s = stream_new(rq, e);
    if (!s)
        return -1;
    s->reader.job = id;
    s->wait.wake = job_known;
    s->wait.scope = s->reader.scope;
    rq->resume = job_found;
    http_suspend(rq, watcher_gone);
    job_watch(&id, &s->wait);
    return SUSPENDED;
}
