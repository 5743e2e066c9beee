/* api_refs.c - looks up the jobs whose outputs a body names. */
#include "server/api_refs.h"

#include <stdlib.h>
#include <string.h>

/* Every output that the body names, once a line, in the order of the lines. */
struct refs {
    struct json_jobs jobs;
    struct request *rq;
    int (*again)(struct request *rq, struct err *e);
    uint32_t line;
    const struct ref_line *lines; /* NULL: the body has none */
    struct promise_question *q;
    uint32_t *line_of; /* of each question */
    uint32_t n, cap;
    uint32_t asked; /* of the n; those behind are to be looked up */
    struct promise_ask ask;
};

static void refs_free(struct json_jobs *jobs)
{
    struct refs *f = CORE_OWNER(jobs, struct refs, jobs);

    for (uint32_t i = 0; i < f->n; i++)
        tensor_unref(f->q[i].t);
    free(f->q);
    free(f->line_of);
    free(f);
}

/* ---- while the body is read ---- */

/* Where the questions of this line begin. */
static uint32_t first_of(const struct refs *f, uint32_t line)
{
    uint32_t low = 0, high = f->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (f->line_of[middle] < line)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int grow(struct refs *f, struct err *e)
{
    uint32_t cap = f->cap ? 2 * f->cap : 8;
    struct promise_question *q;
    uint32_t *line_of;

    if (f->n < f->cap)
        return 0;
    q = realloc(f->q, cap * sizeof *q);
    if (q)
        f->q = q;
    line_of = q ? realloc(f->line_of, cap * sizeof *line_of) : NULL;
    if (!line_of)
        return err_set(e, ERR_no_memory, "the jobs that the inputs name");
    f->line_of = line_of;
    f->cap = cap;
    return 0;
}

/* Its shape is not known: what the first reading makes of it is thrown away. */
static int note(struct refs *f, const struct json_output *what, struct err *e)
{
    struct shape none = {0};
    struct tensor *t;

    if (grow(f, e) != 0)
        return -1;
    t = promise_new(&what->job, what->rank, DTYPE_uint8, &none);
    if (!t)
        return err_set(e, ERR_no_memory, "an input");
    f->q[f->n].t = t;
    f->line_of[f->n++] = f->line;
    return err_set(e, ERR_input_wanted, "the job is to be looked up");
}

static int find_job(struct refs *f, const struct json_output *what, struct tensor **out,
                    struct err *e)
{
    for (uint32_t i = first_of(f, f->line); i < f->n && f->line_of[i] == f->line; i++) {
        const struct promise_question *q = &f->q[i];

        if (!id_equal(&q->t->promise->job, &what->job) || q->t->promise->rank != what->rank)
            continue;
        if (i >= f->asked)
            return err_set(e, ERR_input_wanted, "the job is to be looked up");
        if (q->rc != 0) {
            *e = q->err;
            return -1;
        }
        *out = tensor_ref(q->t);
        return 0;
    }
    return note(f, what, e);
}

static int find_line(struct refs *f, const struct json_output *what, struct tensor **out,
                     struct err *e)
{
    int64_t line = what->line < 0 ? f->line + what->line : what->line;
    const struct ref_line *from;

    if (!f->lines)
        return err_set(e, ERR_input_unknown,
                       "a job is named by its id, \"j_...\"; numbers are lines of a batch");
    if (line < 0 || line >= f->line)
        return err_set(e, ERR_input_unknown,
                       "line %u takes outputs of lines before it, and %lld is none of them; they "
                       "count from 0, and -1 is the one before",
                       f->line, (long long)what->line);
    from = &f->lines[line];
    if (from->wanted)
        return err_set(e, ERR_input_wanted, "a job of line %lld is to be looked up",
                       (long long)line);
    if (!from->s)
        return err_set(e, ERR_input_failed, "line %lld, whose output it takes, was refused",
                       (long long)line);
    *out = promise_new(&from->s->record->id, what->rank, from->s->record->dtype,
                       &from->s->record->out_shape);
    if (!*out)
        return err_set(e, ERR_no_memory, "an input");
    if (promise_of(*out, from->s, e) == 0)
        return 0;
    tensor_unref(*out);
    *out = NULL;
    return -1;
}

static int find(struct json_jobs *jobs, const struct json_output *what, struct tensor **out,
                struct err *e)
{
    struct refs *f = CORE_OWNER(jobs, struct refs, jobs);

    return what->by_line ? find_line(f, what, out, e) : find_job(f, what, out, e);
}

int refs_begin(struct request *rq, struct err *e)
{
    struct refs *f;

    if (rq->jobs)
        return 0;
    f = calloc(1, sizeof *f);
    if (!f)
        return err_set(e, ERR_no_memory, "a request");
    f->jobs = (struct json_jobs){.who = &rq->visitor, .find = find, .free = refs_free};
    f->rq = rq;
    rq->jobs = &f->jobs;
    return 0;
}

void refs_line(struct request *rq, uint32_t line, const struct ref_line *lines)
{
    struct refs *f = CORE_OWNER(rq->jobs, struct refs, jobs);

    f->line = line;
    f->lines = lines;
}

void refs_end(struct request *rq)
{
    if (rq->jobs)
        rq->jobs->free(rq->jobs);
    rq->jobs = NULL;
}

/* ---- the look-up ---- */

/* Of one that the core does not know: it has ended, or never was. */
static void ask_store(const struct visitor *who, struct promise_question *q,
                      struct job_record **last)
{
    const struct id *id = &q->t->promise->job;
    char text[ID_TEXT];

    if (!*last || !id_equal(&(*last)->id, id)) {
        record_free(*last);
        *last = NULL;
        q->rc = store_job_read(id, visitor_scope(who), last, &q->err);
        if (q->rc != 0 && q->err.code == ERR_job_unknown)
            err_set(&q->err, ERR_input_unknown, "there is no job %s", id_format('j', id, text));
        if (q->rc != 0)
            return;
    }
    q->rc = promise_answer(q->t, *last, &q->err);
}

static int found(struct request *rq, struct err *e)
{
    struct refs *f = CORE_OWNER(rq->jobs, struct refs, jobs);
    struct job_record *last = NULL;

    for (uint32_t i = f->asked; i < f->n; i++) {
        if (f->q[i].rc == 1)
            ask_store(&rq->visitor, &f->q[i], &last);
    }
    record_free(last);
    f->asked = f->n;
    return f->again(rq, e);
}

static void on_answered(struct promise_ask *a)
{
    http_resume(CORE_OWNER(a, struct refs, ask)->rq);
}

int refs_find(struct request *rq, int (*again)(struct request *, struct err *), struct err *e)
{
    struct refs *f;

    if (e->code != ERR_input_wanted)
        return -1;
    f = CORE_OWNER(rq->jobs, struct refs, jobs);
    f->again = again;
    f->ask = (struct promise_ask){.done = on_answered,
                                  .scope = visitor_scope(&rq->visitor),
                                  .q = f->q + f->asked,
                                  .n = f->n - f->asked};
    rq->resume = found;
    http_suspend(rq, NULL);
    promise_ask(&f->ask);
    return SUSPENDED;
}
