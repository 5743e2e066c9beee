/* api_outputs.c - a finished job's outputs: all of them, or one rank's. */
#include "server/api.h"
#include "server/negotiate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_FORMATS ((1u << FORMAT_COUNT) - 1)

static int find_tensors(const struct job_record *r, uint32_t from, uint32_t n, struct tensor **t,
                        struct err *e)
{
    for (uint32_t i = 0; i < n; i++) {
        char id[ID_TEXT];

        if (id_is_zero(&r->outputs[from + i]))
            continue;
        t[i] = tensor_find(&r->outputs[from + i]);
        if (!t[i])
            return err_set(e, ERR_tensor_lost, "tensor %s was deleted, or its time is over",
                           id_format('t', &r->outputs[from + i], id));
    }
    return 0;
}

int view_read(const struct request *rq, bool *as_uint16, struct err *e)
{
    const char *view = params_text(rq->params, PARAM_view);

    *as_uint16 = view != NULL;
    if (!view || strcmp(view, "uint16") == 0)
        return 0;
    return err_set(e, ERR_parameter_range, "view is uint16, not %s", view);
}

int shown_read(const struct request *rq, struct shown *out, struct err *e)
{
    const char *outputs = params_text(rq->params, PARAM_outputs);

    *out = (struct shown){.data = (int)params_int(rq->params, PARAM_data, -1),
                          .unique = outputs && strcmp(outputs, "unique") == 0};
    if (!outputs || out->unique || strcmp(outputs, "each") == 0)
        return 0;
    err_set(e, ERR_parameter_range, "outputs is unique or each, not %s", outputs);
    return err_pointer(e, "/outputs");
}

enum dtype viewed(enum dtype d, bool as_uint16)
{
    return d == DTYPE_bfloat16 && as_uint16 ? DTYPE_uint16 : d;
}

void bytes_headers(struct request *rq, enum dtype d, const struct shape *s, uint32_t stack)
{
    char shape[REPLY_HEADER_BYTES] = "";
    size_t at = 0;

    if (stack > 0)
        at = (size_t)snprintf(shape, sizeof shape, "%u", stack);
    for (uint32_t i = 0; i < s->ndim; i++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%" PRIu64, at ? "," : "",
                               s->dim[i]);
    reply_header(rq, "Tutti-Dtype", "%s", dtypes[d].name);
    reply_header(rq, "Tutti-Shape", "%s", shape);
    reply_header(rq, "Content-Disposition", "attachment");
}

/* Keeps each tensor of t once, in the order of the first ranks that have them, and says in map
 * which of them is whose: "0,0,1,-". Returns how many there are. */
static uint32_t make_unique(struct tensor **t, uint32_t n, struct text *map)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct tensor *own = t[i];
        uint32_t at = 0;

        t[i] = NULL;
        while (own && at < kept && t[at] != own)
            at++;
        if (own && at == kept)
            t[kept++] = own;
        else
            tensor_unref(own);
        text_raw(map, ",", i > 0);
        if (own)
            text_format(map, "%u", at);
        else
            text_format(map, "-");
    }
    return kept;
}

/* What of the outputs is sent. */
static int choose(struct request *rq, struct codec_out *what, struct tensor **t, enum format f,
                  struct err *e)
{
    struct shown shown;

    if (view_read(rq, &what->as_uint16, e) != 0 || shown_read(rq, &shown, e) != 0)
        return -1;
    if (!shown.unique || !what->stacked)
        return 0;
    what->n = make_unique(t, what->n, &rq->reply.outputs);
    what->map = rq->reply.outputs.data;
    if (rq->reply.outputs.failed)
        return err_set(e, ERR_no_memory, "the outputs");
    if (what->n == 0 && f != FORMAT_safetensors)
        return err_set(e, ERR_not_acceptable, "no rank has an output; ask for safetensors or json");
    return 0;
}

int outputs_reply(struct request *rq, const struct job_record *r, int64_t rank, enum format f,
                  struct err *e)
{
    uint32_t from = rank < 0 ? 0 : (uint32_t)rank, n = rank < 0 ? r->n : 1;
    struct tensor **t = calloc(n, sizeof *t);
    struct codec_out what = {.n = n, .t = t, .stacked = rank < 0};
    int rc = -1;

    if (!t)
        return err_set(e, ERR_no_memory, "the outputs");
    if (find_tensors(r, from, n, t, e) != 0 || choose(rq, &what, t, f, e) != 0 ||
        codec_of(f)->write(&what, &rq->reply.parts, e) != 0)
        goto out;
    bytes_headers(rq, viewed(r->dtype, what.as_uint16), &r->out_shape, rank < 0 ? what.n : 0);
    if (rank >= 0) /* a tensor never changes */
        etag_header(rq, t[0], f);
    reply_parts(rq, 200, codec_of(f)->media);
    rc = HANDLED;
out:
    for (uint32_t i = 0; i < n; i++)
        tensor_unref(t[i]);
    free(t);
    return rc;
}

static int finished_record(struct request *rq, struct err *e)
{
    struct job_wait *w = &((struct job_request *)rq->state)->wait;
    struct id id;

    if (w->rc != 0 && w->job) /* it was read, and then an output had to be brought */
        return 0;
    if (w->rc == 0 && !job_state_terminal(w->job->state))
        return err_set(e, ERR_job_running,
                       "the job is %s; wait for it with GET .../jobs/{id}?wait=60",
                       job_state_name(w->job->state));
    if (w->rc != 0 && w->err.code != ERR_job_unknown) {
        *e = w->err;
        return -1;
    }
    if (w->rc != 0 && (job_id_read(rq, &id, e) != 0 || job_settle(w, &id, e) != 0))
        return -1;
    if (w->job->state != JOB_succeeded && w->job->error) {
        *e = *w->job->error;
        return -1;
    }
    if (w->job->state != JOB_succeeded)
        return err_set(e, ERR_no_output, "the job %s, so it has no outputs",
                       w->job->state == JOB_failed ? "failed" : "was cancelled");
    return 0;
}

int outputs_format(const struct request *rq, enum format *f, struct err *e)
{
    return negotiate_out(request_header(rq, "Accept"), params_text(rq->params, PARAM_format),
                         ALL_FORMATS, FORMAT_json, f, e);
}

/* A document without data needs no bytes. */
static bool reads_data(const struct request *rq, enum format f)
{
    return f != FORMAT_json || params_int(rq->params, PARAM_data, 1) != 0;
}

static void job_header(struct request *rq, const struct job_record *r)
{
    char id[ID_TEXT];

    reply_header(rq, "Tutti-Job", "%s", id_format('j', &r->id, id));
}

/* Are the outputs still there? As a document they would only lack their data. */
static int check_there(const struct job_record *r, struct err *e)
{
    for (uint32_t i = 0; i < r->n; i++) {
        struct tensor *t = NULL;
        int rc = find_tensors(r, i, 1, &t, e);

        if (rc == 0 && t && tensor_lost(t))
            rc = err_set(e, ERR_tensor_lost, TENSOR_LOST);
        tensor_unref(t);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int all_found(struct request *rq, struct err *e)
{
    struct job_wait *w = &((struct job_request *)rq->state)->wait;
    struct shown shown;
    enum format f;
    int rc;

    if (finished_record(rq, e) != 0 || outputs_format(rq, &f, e) != 0 ||
        shown_read(rq, &shown, e) != 0)
        return -1;
    rc = reads_data(rq, f) ? outputs_bring(rq, w->job, -1, e) : 0;
    if (rc != 0)
        return rc;
    job_header(rq, w->job);
    if (f != FORMAT_json)
        return outputs_reply(rq, w->job, -1, f, e);
    if (check_there(w->job, e) != 0 || job_doc_check(w->job, shown, e) != 0)
        return -1;
    text_object(&rq->reply.text, NULL);
    outputs_doc_write(&rq->reply.text, "outputs", w->job, shown);
    text_end_object(&rq->reply.text);
    return reply_json(rq, 200);
}

static int read_rank(const struct request *rq, const struct job_record *r, uint32_t *rank,
                     struct err *e)
{
    const char *arg = rq->args[1];
    unsigned long n = strtoul(arg, NULL, 10);

    if (!*arg || strspn(arg, "0123456789") != strlen(arg) || n >= r->n)
        return err_set(e, ERR_rank_unknown, "the job's group has ranks 0 to %u", r->n - 1);
    if (id_is_zero(&r->outputs[n]))
        return err_set(e, ERR_no_output, "%s gives rank %lu no output", r->op->name, n);
    *rank = (uint32_t)n;
    return 0;
}

static int one_found(struct request *rq, struct err *e)
{
    struct job_wait *w = &((struct job_request *)rq->state)->wait;
    uint32_t rank = 0;
    struct shown shown;
    char why[OMITTED_TEXT];
    const char *omitted = NULL;
    enum format f;
    int rc;

    if (finished_record(rq, e) != 0 || read_rank(rq, w->job, &rank, e) != 0 ||
        outputs_format(rq, &f, e) != 0 || shown_read(rq, &shown, e) != 0)
        return -1;
    rc = reads_data(rq, f) ? outputs_bring(rq, w->job, rank, e) : 0;
    if (rc != 0)
        return rc;
    job_header(rq, w->job);
    if (f != FORMAT_json)
        return outputs_reply(rq, w->job, rank, f, e);
    if (check_there(w->job, e) != 0 || job_doc_check(w->job, shown, e) != 0)
        return -1;
    if (shown.data < 0)
        omitted = data_omitted(why, json_tensor_elements(&w->job->out_shape), true);
    output_doc_write(&rq->reply.text, w->job, rank, shown.data != 0 && !omitted, omitted);
    return reply_json(rq, 200);
}

static int look(struct request *rq, int (*found)(struct request *, struct err *), struct err *e)
{
    struct job_request *jr;
    struct id id;

    if (job_id_read(rq, &id, e) != 0)
        return -1;
    jr = job_request_new(rq, 0, found, e);
    if (!jr)
        return -1;
    job_request_suspend(jr);
    job_watch(&id, &jr->wait);
    return SUSPENDED;
}

int api_outputs_get(struct request *rq, struct err *e)
{
    return look(rq, all_found, e);
}

int api_output_get(struct request *rq, struct err *e)
{
    return look(rq, one_found, e);
}
