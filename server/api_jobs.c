/* api_jobs.c - submit a job, and answer with what became of it. */
#include "schema/clock.h"
#include "server/api_refs.h"
#include "server/api_submit.h"
#include "server/problem.h"
#include "server/routes.h"

#include <stdlib.h>
#include <string.h>

int job_failed_reply(struct request *rq, const struct job_record *r)
{
    char id[ID_TEXT];
    struct err unknown;
    const struct err *e = r->error;
    int after;

    if (!e) {
        err_set(&unknown, ERR_internal, "the job ended without a reason");
        e = &unknown;
    }
    after = problem_retry_after(e);
    if (after > 0)
        reply_header(rq, "Retry-After", "%d", after);
    problem_write(&rq->reply.text, e, id_format('j', &r->id, id));
    return reply_document(rq, err_status(e->code), PROBLEM_MEDIA);
}

void job_location(struct request *rq, const struct job_record *r)
{
    const char *at = strchr(rq->route->pattern + 1, '/'); /* behind /v1 */
    char up[3 * 8 + 1] = "", id[ID_TEXT];

    while ((at = strchr(at + 1, '/')) && strlen(up) + 3 < sizeof up)
        strcat(up, "../");
    reply_header(rq, "Location", "%sjobs/%s", up, id_format('j', &r->id, id));
}

int job_reply(struct request *rq, const struct job_record *r, bool submitted, struct err *e)
{
    char id[ID_TEXT];
    struct shown shown;
    enum format f;
    bool done = job_state_terminal(r->state);
    bool binary = submitted && done && outputs_format(rq, &f, e) == 0 && f != FORMAT_json;

    if (shown_read(rq, &shown, e) != 0)
        return -1;
    if (done && (binary || shown.data > 0)) {
        int rc = outputs_bring(rq, r, -1, e);

        if (rc != 0)
            return rc;
    }
    id_format('j', &r->id, id);
    reply_header(rq, "Tutti-Job", "%s", id);
    if (submitted && done && r->state != JOB_succeeded)
        return job_failed_reply(rq, r);
    if (binary)
        return outputs_reply(rq, r, -1, f, e);
    if (job_doc_check(r, shown, e) != 0)
        return -1;
    job_doc_write(&rq->reply.text, r, shown);
    if (submitted && !done) {
        job_location(rq, r);
        return reply_json(rq, 202);
    }
    return reply_json(rq, 200);
}

/* ---- submission ---- */

void submission_free(struct job_submission *s)
{
    if (!s)
        return;
    while (s->promised)
        promise_leave(s->promised);
    for (uint32_t i = 0; s->inputs && i < record_needs(s->record); i++)
        tensor_unref(s->inputs[i]);
    free(s->inputs);
    if (s->results)
        job_results_drop(s->results, s->record->n);
    record_free(s->record);
    free(s);
}

/* Can the outputs be said in the format that is asked for? Better before the job runs than after.
 */
static int check_answer(const struct request *rq, const struct job_record *r, enum format f,
                        struct err *e)
{
    struct shown shown;
    bool as_uint16, stack = f == FORMAT_npy || f == FORMAT_raw;

    if (view_read(rq, &as_uint16, e) != 0 || shown_read(rq, &shown, e) != 0)
        return -1;
    if (f == FORMAT_json)
        return job_doc_check(r, shown, e);
    if (f == FORMAT_npy && viewed(r->dtype, as_uint16) == DTYPE_bfloat16)
        return err_set(e, ERR_not_acceptable, NPY_BFLOAT16);
    for (uint32_t i = 0; stack && !shown.unique && i < r->n; i++) {
        if (!record_gets(r, i))
            return err_set(e, ERR_not_acceptable,
                           "%s gives rank %u no output, so the outputs are no %s stack; ask for "
                           "safetensors or json",
                           r->op->name, i, codec_of(f)->name);
    }
    return 0;
}

struct job_submission *submission_read(struct request *rq, unsigned where, struct err *e)
{
    struct job_submission *s = calloc(1, sizeof *s);
    struct json_span inputs;
    bool has_inputs;

    if (!s) {
        err_set(e, ERR_no_memory, "a job");
        return NULL;
    }
    if (submit_read_members(rq, where, "inputs", &inputs, &has_inputs, e) != 0 ||
        submit_read_record(rq, &s->record, e) != 0)
        goto out;
    s->inputs = calloc(s->record->n, sizeof *s->inputs);
    if (!s->inputs) {
        err_set(e, ERR_no_memory, "a job");
        goto out;
    }
    if (submit_read_inputs(rq, &inputs, has_inputs, s->record, s->inputs, e) == 0 &&
        lane_results(rq, s, e) == 0)
        return s;
out:
    submission_free(s);
    return NULL;
}

static int submitted(struct request *rq, struct err *e)
{
    struct job_wait *w = &((struct job_request *)rq->state)->wait;

    return job_settle(w, &w->id, e) != 0 ? -1 : job_reply(rq, w->job, true, e);
}

static int check_submission(const struct request *rq, struct job_submission *s, struct err *e)
{
    enum format f;

    if (outputs_format(rq, &f, e) != 0 || check_answer(rq, s->record, f, e) != 0 ||
        submit_read_own_key(rq, s->key, e) != 0)
        return -1;
    return s->key[0] ? submit_digest(s->record, s->inputs, s->digest, e) : 0;
}

int submission_post(struct request *rq, struct job_submission *s, struct err *e)
{
    struct job_request *jr;

    body_fini(&rq->body); /* the tensors hold what they need */
    refs_end(rq);
    jr = check_submission(rq, s, e) != 0
             ? NULL
             : job_request_new(rq, params_us(rq->params, PARAM_wait, 0), submitted, e);
    if (!jr) {
        submission_free(s);
        return -1;
    }
    s->wait = &jr->wait;
    s->record->validated_us = clock_us() - rq->received_at_us;
    job_request_suspend(jr);
    job_submit(s);
    return SUSPENDED;
}

/* What a request takes may be gone by the time that it is sent again: as long as its key is known,
 * it is the job of before all the same. e says what is wrong otherwise. */
static int refuse_or_replay(struct request *rq, struct err *e)
{
    char key[LIMIT_FULL_KEY_BYTES + 1];
    struct job_request *jr;
    uint8_t text[16];
    struct err why;
    struct id id;

    if (rq->body.codec || submit_read_own_key(rq, key, &why) != 0 || !key[0])
        return -1;
    submit_text_digest(rq, text);
    if (store_text_read(key, text, &id, &why) != 0)
        return -1;
    jr = job_request_new(rq, params_us(rq->params, PARAM_wait, 0), submitted, e);
    if (!jr)
        return -1;
    jr->wait.replayed = true;
    job_request_suspend(jr);
    job_watch(&id, &jr->wait);
    return SUSPENDED;
}

int api_job_create(struct request *rq, struct err *e)
{
    struct job_submission *s = refs_begin(rq, e) != 0 ? NULL : submission_read(rq, WHERE_JOB, e);

    if (!s)
        return e->code == ERR_input_wanted ? refs_find(rq, api_job_create, e)
                                           : refuse_or_replay(rq, e);
    s->has_text = !rq->body.codec && request_header(rq, "Idempotency-Key");
    if (s->has_text)
        submit_text_digest(rq, s->text);
    return submission_post(rq, s, e);
}
