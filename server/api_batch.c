/* api_batch.c - many jobs in one request: a JSON document a line, and a document a line back, in
 * order. Every line is by itself: one that is refused stops no other, but those that take its
 * output. */
#include "schema/clock.h"
#include "server/api_refs.h"
#include "server/api_submit.h"
#include "server/negotiate.h"
#include "server/problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct batch;

struct line {
    struct batch *batch;
    struct json_span text;
    bool earlier;         /* it is a job of before, whatever is wrong with it now */
    struct job_wait wait; /* without a wake: refused before it became a job, rc and err say why */
};

/* What the request keeps until its answer. */
struct batch {
    struct request *rq;
    struct request *one;   /* a line, as a request of its own */
    struct ref_line *made; /* n: what the lines became, until they are submitted */
    uint64_t ranks;        /* of all jobs so far: what the answer will name */
    uint32_t n, waiting;   /* waiting: core thread, once it is submitted */
    struct line line[];
};

static void batch_free(void *state)
{
    struct batch *b = state;

    if (b->one)
        free(b->one->params);
    free(b->one);
    for (uint32_t i = b->n; i-- > 0;) {
        if (b->made)
            submission_free(b->made[i].s);
        record_free(b->line[i].wait.job);
    }
    free(b->made);
    free(b);
}

/* ---- lines ---- */

/* The next one that is not blank. */
static bool next_line(const char **at, const char *end, struct json_span *out)
{
    while (*at < end) {
        const char *from = *at, *stop = memchr(from, '\n', (size_t)(end - from));
        size_t len = stop ? (size_t)(stop - from) : (size_t)(end - from);

        *at = stop ? stop + 1 : end;
        while (len > 0 && memchr(" \t\r", from[len - 1], 3))
            len--;
        if (len == 0)
            continue;
        *out = (struct json_span){.base = from, .at = from, .len = len};
        return true;
    }
    return false;
}

static int split(struct batch **out, struct request *rq, struct err *e)
{
    const char *text = rq->body.text, *end = text + rq->body.text_len, *at = text;
    struct json_span span;
    uint32_t n = 0;
    struct batch *b;

    while (text && next_line(&at, end, &span))
        n++;
    if (n == 0)
        return err_set(e, ERR_empty_body, "a batch has at least one line");
    if (n > LIMIT_LINES)
        return err_set(e, ERR_body_too_large, "a batch has at most %d lines, and this one %u",
                       LIMIT_LINES, n);
    b = calloc(1, sizeof *b + n * sizeof b->line[0]);
    if (!b)
        return err_set(e, ERR_no_memory, "a batch of %u lines", n);
    at = text;
    while (next_line(&at, end, &b->line[b->n].text))
        b->line[b->n++].batch = b;
    *out = b;
    return 0;
}

static int prepare(struct batch *b, struct request *rq, struct err *e)
{
    b->rq = rq;
    b->made = calloc(b->n, sizeof *b->made);
    b->one = calloc(1, sizeof *b->one);
    if (b->one)
        b->one->params = malloc(sizeof *b->one->params);
    if (!b->made || !b->one || !b->one->params)
        return err_set(e, ERR_no_memory, "a batch of %u lines", b->n);
    b->one->visitor = rq->visitor;
    b->one->received_us = rq->received_us;
    b->one->received_at_us = rq->received_at_us;
    for (uint32_t i = 0; i < b->n; i++)
        b->made[i].wanted = true;
    return 0;
}

/* ---- reading ---- */

static struct job_submission *read_line(struct batch *b, uint32_t i, struct err *e)
{
    struct request *one = b->one;
    struct job_submission *s;
    struct shown shown;

    *one->params = *b->rq->params; /* the query is everybody's */
    one->jobs = b->rq->jobs;
    refs_line(b->rq, i, b->made);
    if (json_check(b->line[i].text.at, b->line[i].text.len, &one->body.json, e) != 0)
        return NULL;
    s = submission_read(one, WHERE_LINE, e);
    if (s && (b->ranks += s->record->n) > LIMIT_LINES_RANKS) {
        err_set(e, ERR_body_too_large, "the jobs of a batch have at most %u ranks in all",
                LIMIT_LINES_RANKS);
        submission_free(s);
        return NULL;
    }
    if (s && (shown_read(b->rq, &shown, e) != 0 || job_doc_check(s->record, shown, e) != 0)) {
        submission_free(s);
        s = NULL;
    }
    return s;
}

/* Every line that is not read yet. Returns 0, or -1 with ERR_input_wanted when jobs have to be
 * looked up first. */
static int read_lines(struct batch *b, struct err *e)
{
    bool wanted = false;

    for (uint32_t i = 0; i < b->n; i++) {
        struct ref_line *made = &b->made[i];
        struct job_wait *w = &b->line[i].wait;

        if (!made->wanted)
            continue;
        made->s = read_line(b, i, &w->err);
        w->rc = made->s ? 0 : -1;
        if (w->rc != 0 && w->err.code == ERR_bad_json)
            err_context(&w->err, "line %u of the batch, from 0 (one document a line)", i);
        made->wanted = w->rc != 0 && w->err.code == ERR_input_wanted;
        wanted |= made->wanted;
    }
    return wanted ? err_set(e, ERR_input_wanted, "jobs are to be looked up") : 0;
}

/* ---- the answer ---- */

/* Returns true when the line is over: there will be no more to say of it. */
static bool answer_line(struct text *t, const struct line *l, struct shown shown,
                        uint64_t *elements)
{
    const struct job_record *r = l->wait.job;

    if (!r) {
        problem_write(t, &l->wait.err, NULL);
        return true;
    }
    *elements += r->n * json_tensor_elements(&r->out_shape);
    if (*elements > LIMIT_JSON_ELEMENTS)
        shown = (struct shown){.full = shown.data != 0};
    job_doc_write(t, r, shown);
    return job_state_terminal(r->state);
}

/* Bytes on devices that are to be shown come first. */
static int settle(struct request *rq, struct batch *b, int data, struct err *e)
{
    for (uint32_t i = 0; i < b->n; i++) {
        struct job_wait *w = &b->line[i].wait;
        int rc = 0;

        if (w->wake && job_settle(w, &w->id, &w->err) == 0 && data > 0)
            rc = outputs_bring(rq, w->job, -1, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int answered(struct request *rq, struct err *e)
{
    struct batch *b = rq->state;
    struct shown shown;
    int rc = shown_read(rq, &shown, e) != 0 ? -1 : settle(rq, b, shown.data, e);
    struct text *t = &rq->reply.text;
    uint64_t elements = 0;
    bool over = true;

    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < b->n; i++) {
        over &= answer_line(t, &b->line[i], shown, &elements);
        text_raw(t, "\n", 1);
        t->comma = false;
    }
    return reply_text(rq, over ? 200 : 202, LINES_MEDIA);
}

/* ---- submission ---- */

static void woken(struct job_wait *w)
{
    struct batch *b = CORE_OWNER(w, struct line, wait)->batch;

    if (--b->waiting == 0)
        http_resume(b->rq);
}

static void client_gone(struct request *rq)
{
    struct batch *b = rq->state;

    for (uint32_t i = 0; i < b->n; i++) {
        if (b->line[i].wait.wake)
            job_wait_drop(&b->line[i].wait);
    }
}

/* A line that is refused was a job, if the batch came before: what it takes may be gone by now.
 * Returns 1 when it was. */
static int find_earlier(struct line *l, uint32_t i, const char *key, const uint8_t *digest,
                        struct id *job, struct err *e)
{
    struct store_key k = {0};
    int rc;

    if (!key[0] || l->wait.rc == 0)
        return 0;
    store_line_key(&k, key, i);
    memcpy(k.digest, digest, sizeof k.digest);
    rc = store_key_read(&k, job, e);
    return rc < 0 && e->code != ERR_idempotency_key_reused ? -1 : rc == 0;
}

/* A key of another request is no matter of single lines. */
static int check_key(const char *key, const uint8_t *digest, struct err *e)
{
    struct store_key k = {0};
    struct id job;

    if (!key[0])
        return 0;
    memcpy(k.key, key, strlen(key));
    memcpy(k.digest, digest, sizeof k.digest);
    return store_key_read(&k, &job, e) < 0 ? -1 : 0;
}

static void expect_answer(struct batch *b, struct job_wait *w)
{
    uint64_t wait_us = params_us(b->rq->params, PARAM_wait, 0);

    w->wake = woken;
    w->scope = visitor_scope(&b->rq->visitor);
    w->deadline_us = wait_us ? clock_us() + wait_us : 0;
    b->waiting++;
}

static int find_all_earlier(struct batch *b, const char *key, const uint8_t *digest, struct err *e)
{
    for (uint32_t i = 0; i < b->n; i++) {
        struct line *l = &b->line[i];
        int rc = find_earlier(l, i, key, digest, &l->wait.id, e);

        if (rc < 0)
            return -1;
        l->earlier = rc > 0;
        if (!l->earlier)
            continue;
        l->wait.rc = 0;
        l->wait.replayed = true;
        expect_answer(b, &l->wait);
    }
    return 0;
}

/* The lines that are jobs, linked; NULL: there is none. */
static struct job_submission *link_lines(struct batch *b, const char *key, const uint8_t *digest)
{
    uint64_t now = clock_us();
    struct job_submission *first = NULL, **tail = &first;

    for (uint32_t i = 0; i < b->n; i++) {
        struct job_submission *s = b->made[i].s;
        struct job_wait *w = &b->line[i].wait;

        b->made[i].s = NULL;
        if (!s)
            continue;
        expect_answer(b, w);
        s->wait = w;
        s->batch = true;
        s->line = i;
        s->record->validated_us = now - b->rq->received_at_us;
        strcpy(s->key, key);
        memcpy(s->digest, digest, sizeof s->digest);
        *tail = s;
        tail = &s->next;
    }
    return first;
}

static void watch(struct line *l)
{
    struct id id = l->wait.id;

    job_watch(&id, &l->wait);
}

/* The answers may be there, and b gone, as soon as the last of them is posted. */
static void submit(struct batch *b, struct job_submission *first)
{
    struct line *last = NULL;

    for (uint32_t i = 0; i < b->n; i++) {
        if (!b->line[i].earlier)
            continue;
        if (last)
            watch(last);
        last = &b->line[i];
    }
    if (last && first)
        watch(last);
    if (first)
        job_submit_batch(first);
    else
        watch(last);
}

static int post(struct request *rq, struct batch *b, struct err *e)
{
    char key[LIMIT_FULL_KEY_BYTES + 1];
    uint8_t digest[16];
    struct job_submission *first;

    if (submit_read_own_key(rq, key, e) != 0)
        return -1;
    submit_text_digest(rq, digest);
    if (check_key(key, digest, e) != 0 || find_all_earlier(b, key, digest, e) != 0)
        return -1;
    first = link_lines(b, key, digest);
    body_fini(&rq->body); /* the tensors hold what they need */
    refs_end(rq);
    if (b->waiting == 0)
        return answered(rq, e);
    rq->resume = answered;
    http_suspend(rq, client_gone);
    submit(b, first);
    return SUSPENDED;
}

static int read_and_post(struct request *rq, struct err *e)
{
    struct batch *b = rq->state;

    return read_lines(b, e) != 0 ? refs_find(rq, read_and_post, e) : post(rq, b, e);
}

int api_jobs_batch(struct request *rq, struct err *e)
{
    struct batch *b = NULL;

    if (negotiate_lines_out(request_header(rq, "Accept"), e) != 0 || refs_begin(rq, e) != 0 ||
        split(&b, rq, e) != 0)
        return -1;
    request_state(rq, b, batch_free);
    return prepare(b, rq, e) != 0 ? -1 : read_and_post(rq, e);
}
