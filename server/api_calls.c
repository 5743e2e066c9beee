/* api_calls.c - one rank's own call: its tensor in, its output back. */
#include "schema/clock.h"
#include "server/api_refs.h"
#include "server/api_submit.h"
#include "server/backward.h"
#include "server/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the request keeps until its answer. */
struct call_request {
    struct job_request jr; /* first: rq->state is taken for one */
    uint32_t rank;
    bool value; /* a JSON value comes and goes */
};

static void state_free(void *state)
{
    struct call_request *cr = state;

    record_free(cr->jr.wait.job);
    free(cr);
}

/* ---- the answer ---- */

/* omitted: gets why it is not shown although nobody said so, or NULL. */
static bool shows_data(const struct request *rq, const struct job_record *r, char why[OMITTED_TEXT],
                       const char **omitted)
{
    int64_t asked = params_int(rq->params, PARAM_data, -1);
    uint64_t elements = json_tensor_elements(&r->out_shape);

    *omitted = asked < 0 || elements > LIMIT_JSON_ELEMENTS ? data_omitted(why, elements, true)
                                                           : NULL;
    if (asked == 0)
        *omitted = NULL;
    return asked != 0 && !*omitted;
}

static int succeeded(struct request *rq, const struct job_record *r, uint32_t rank, struct err *e)
{
    bool gets = !id_is_zero(&r->outputs[rank]);
    struct text *t = &rq->reply.text;
    char id[ID_TEXT], why[OMITTED_TEXT];
    const char *omitted;
    bool data = shows_data(rq, r, why, &omitted);
    enum format f;
    int rc;

    if (outputs_format(rq, &f, e) != 0)
        return -1;
    rc = gets && (f != FORMAT_json || data) ? outputs_bring(rq, r, rank, e) : 0;
    if (rc != 0)
        return rc;
    id_format('j', &r->id, id);
    reply_header(rq, "Tutti-Job", "%s", id);
    if (f != FORMAT_json)
        return gets ? outputs_reply(rq, r, rank, f, e) : reply_empty(rq, 204);
    text_object(t, NULL);
    text_string(t, "job", id);
    text_uint(t, "seq", r->call_seq);
    if (gets) {
        text_name(t, "output");
        t->comma = false;
        output_doc_write(t, r, rank, data, omitted);
    } else {
        text_null(t, "output");
    }
    text_end_object(t);
    return reply_json(rq, 200);
}

/* The text is what rank 0 sent, checked when it came. */
static int value_reply(struct request *rq, const struct job_record *r, uint32_t rank, struct err *e)
{
    struct tensor *x = tensor_find(&r->outputs[rank]);
    const uint8_t *bytes = x ? tensor_data(x) : NULL;
    struct text *t = &rq->reply.text;
    char id[ID_TEXT];

    if (!bytes) {
        tensor_unref(x);
        return err_set(e, ERR_tensor_lost, "the value is gone");
    }
    reply_header(rq, "Tutti-Job", "%s", id_format('j', &r->id, id));
    text_object(t, NULL);
    text_string(t, "job", id);
    text_uint(t, "seq", r->call_seq);
    text_name(t, "value");
    text_raw(t, (const char *)bytes, x->size_bytes);
    text_value_end(t);
    text_end_object(t);
    tensor_unref(x);
    return reply_json(rq, 200);
}

static int called(struct request *rq, struct err *e)
{
    struct call_request *cr = rq->state;
    struct job_wait *w = &cr->jr.wait;
    char id[ID_TEXT];

    if (job_settle(w, &w->id, e) != 0)
        return e->code != ERR_job_unknown
                   ? -1
                   : err_set(e, ERR_job_unknown,
                             "the job of this call failed before it came, and was deleted");
    if (w->job->state == JOB_succeeded && cr->value)
        return value_reply(rq, w->job, cr->rank, e);
    if (w->job->state == JOB_succeeded)
        return succeeded(rq, w->job, cr->rank, e);
    id_format('j', &w->job->id, id);
    reply_header(rq, "Tutti-Job", "%s", id);
    if (job_state_terminal(w->job->state))
        return job_failed_reply(rq, w->job);
    job_doc_write(&rq->reply.text, w->job, SHOWN_NOT);
    job_location(rq, w->job);
    return reply_json(rq, 202);
}

/* ---- the question ---- */

static int find_place(const struct request *rq, struct group *g, uint32_t *rank, struct err *e)
{
    const char *arg = rq->args[1];
    unsigned long n = strtoul(arg, NULL, 10);
    char full[LIMIT_FULL_GROUP_BYTES + 1];

    if (group_arg(rq, full, e) != 0 || group_find(full, strlen(full), g, e) != 0)
        return -1;
    if (params_has(rq->params, PARAM_rank) && n >= g->n) {
        err_set(e, ERR_rank_invalid, "the group has ranks 0 to %u", g->n - 1);
        return err_pointer(e, "/rank");
    }
    if (!*arg || strspn(arg, "0123456789") != strlen(arg) || n >= g->n)
        return err_set(e, ERR_rank_unknown, "the group has ranks 0 to %u", g->n - 1);
    *rank = (uint32_t)n;
    return 0;
}

static int from_payload(struct request *rq, struct tensor **out, struct err *e)
{
    const struct payload *p = &rq->body.payload;

    if (!p->whole && p->n != 1)
        return err_set(e, ERR_inputs_invalid, "a call brings one tensor; this file has %u", p->n);
    *out = tensor_ref(p->whole ? p->whole : p->items[0].tensor);
    return submit_check_stated(rq->params, *out, true, e);
}

/* NULL when the rank gives nothing: what it brings all the same is not looked at. */
static int read_input(struct request *rq, const struct json_span *input, bool has_input,
                      const struct job_record *r, uint32_t rank, struct tensor **out, struct err *e)
{
    enum dtype d = submit_json_dtype(rq, r);
    bool named;

    if (!record_gives(r, rank))
        return 0;
    if (rq->body.codec)
        return from_payload(rq, out, e);
    if (rq->jobs)
        rq->jobs->rank = rank;
    if (has_input && json_tensor_read(input, d, "/input", rq->jobs, out, &named, e) != 0)
        return -1;
    if (*out || !id_is_zero(&r->parent))
        return 0;
    err_set(e, ERR_inputs_invalid, "%s needs an input of rank %u", r->op->name, rank);
    return err_pointer(e, "/input");
}

/* Rank 0's value as bytes; the others bring none. */
static int read_value(const struct request *rq, uint32_t rank, struct tensor **out, struct err *e)
{
    const struct json_span *text = &rq->body.json;
    struct shape shape = {.ndim = 1, .dim = {text->len}};
    struct extent *x;

    if (rank > 0)
        return rq->has_body ? err_set(e, ERR_inputs_invalid, "the value is rank 0's: bring no body")
                            : 0;
    if (!rq->has_body)
        return err_set(e, ERR_inputs_invalid, "rank 0 brings the value: a JSON body");
    if (extent_alloc_for(rq->visitor.account, text->len, &x, e) != 0)
        return -1;
    *out = tensor_new(DTYPE_uint8, &shape, x, 0);
    extent_unref(x); /* the tensor has its own reference */
    if (!*out)
        return err_set(e, ERR_no_memory, "a value");
    memcpy(tensor_data(*out), text->at, text->len);
    return 0;
}

static int take_shape(struct call *c, struct err *e)
{
    struct job_record *r = c->record;

    if (!c->input || r->shaped)
        return 0;
    if (op_check_dtype(r->op, c->input->dtype, e) != 0)
        return -1;
    r->dtype = c->input->dtype;
    r->in_shape = c->input->shape;
    c->shaped = true;
    return op_out_shape(r->op, &r->params, r->n, &r->in_shape, &r->out_shape, e) != 0
               ? -1
               : shape_measure(&r->out_shape, r->dtype, NULL, NULL, e);
}

/* Can its output be said as it is asked for? Better before the call counts than after. Ranks that
 * bring no tensor do not know its shape. */
static int check_output(const struct request *rq, const struct call *c, struct err *e)
{
    const struct job_record *r = c->record;
    uint64_t elements = json_tensor_elements(&r->out_shape);
    bool as_uint16;
    enum format f;

    if (outputs_format(rq, &f, e) != 0 || view_read(rq, &as_uint16, e) != 0)
        return -1;
    if (!(c->shaped || r->shaped) || !record_gets(r, c->rank))
        return 0;
    if (f == FORMAT_npy && viewed(r->dtype, as_uint16) == DTYPE_bfloat16)
        return err_set(e, ERR_not_acceptable, NPY_BFLOAT16);
    if (f != FORMAT_json || params_int(rq->params, PARAM_data, -1) < 1 ||
        elements <= LIMIT_JSON_ELEMENTS)
        return 0;
    return err_set(e, ERR_not_acceptable,
                   "the output has %llu elements, and JSON shows at most %u; ask for npy, "
                   "safetensors or raw",
                   (unsigned long long)elements, LIMIT_JSON_ELEMENTS);
}

/* A key is the rank's own. */
static int read_key(const struct request *rq, struct call *c, struct err *e)
{
    struct tensor **all;
    char key[LIMIT_KEY_BYTES + 1];
    int rc;

    if (submit_read_key(rq, key, e) != 0)
        return -1;
    if (!key[0])
        return 0;
    snprintf(c->key, sizeof c->key, "\x1f%s\x1f%u\x1f%s", c->record->group, c->rank, key);
    all = calloc(c->record->n, sizeof(struct tensor *));
    if (!all)
        return err_set(e, ERR_no_memory, "a call");
    all[c->rank] = c->input;
    rc = submit_digest(c->record, all, c->digest, e);
    c->digest[0] ^= c->record->value;
    free(all);
    return rc;
}

/* The mask of a gradient, and zeros for one that did not come. */
static int complete(struct call *c, const struct job_record *of, struct err *e)
{
    struct job_record *r = c->record;

    c->shaped = true;
    if (c->input && submit_check_grad(r, c->input, c->rank, e) != 0)
        return err_pointer(e, "/input");
    c->inputs = calloc(record_needs(r), sizeof *c->inputs);
    if (!c->inputs)
        return err_set(e, ERR_no_memory, "a call");
    c->missing = !c->input && record_gives(r, c->rank);
    if (backward_masks(r, of, c->inputs, e) != 0)
        return -1;
    if (c->missing)
        c->input = backward_zeros(r, e);
    return c->missing && !c->input ? -1 : 0;
}

/* of: the job whose gradient it is, or NULL. */
static int read_what(struct request *rq, const struct group *g, struct call *c,
                     const struct job_record *of, struct err *e)
{
    if (!of)
        return submit_read_call(rq, g, c->rank, &c->record, e);
    if (submit_read_gradient(rq, of, g, &c->record, e) != 0)
        return -1;
    if (record_calls(c->record, c->rank))
        return 0;
    return err_set(e, ERR_rank_invalid, "rank %u was neither src nor dst of the job", c->rank);
}

static int read_tensor(struct request *rq, struct call *c, const struct job_record *of,
                       const struct group *g, struct err *e)
{
    struct json_span input;
    bool has_input = false;

    if ((rq->has_body &&
         submit_read_members(rq, WHERE_CALL, "input", &input, &has_input, e) != 0) ||
        read_what(rq, g, c, of, e) != 0)
        return -1;
    return read_input(rq, &input, has_input, c->record, c->rank, &c->input, e);
}

/* of: the job whose gradient it is, or NULL. value: it is a JSON value. */
static struct call *read_call(struct request *rq, const struct job_record *of, bool value,
                              struct err *e)
{
    struct call *c = calloc(1, sizeof *c);
    struct group *g = malloc(sizeof *g);

    if (!c || !g) {
        err_set(e, ERR_no_memory, "a call");
        goto fail;
    }
    if (find_place(rq, g, &c->rank, e) != 0)
        goto fail;
    if (!value && read_tensor(rq, c, of, g, e) != 0)
        goto fail;
    if (value && (read_what(rq, g, c, of, e) != 0 || read_value(rq, c->rank, &c->input, e) != 0))
        goto fail;
    c->record->value = value;
    if (take_shape(c, e) != 0 || (of && complete(c, of, e) != 0) ||
        lane_settle(rq, c->record, NULL, &c->input, e) != 0 || check_output(rq, c, e) != 0 ||
        read_key(rq, c, e) != 0)
        goto fail;
    c->rejoin = params_int(rq->params, PARAM_rejoin, 0) != 0;
    free(g);
    return c;
fail:
    free(g);
    call_free(c);
    return NULL;
}

static int create(struct request *rq, const struct job_record *of, bool value, struct err *e)
{
    struct call *c = read_call(rq, of, value, e);
    struct call_request *cr = c ? calloc(1, sizeof *cr) : NULL;
    uint64_t wait_us = params_us(rq->params, PARAM_wait, LIMIT_CALL_WAIT_S * 1000000ull);

    if (!c)
        return refs_find(rq, api_call_create, e);
    if (wait_us > 0 && http_take_wait(rq, e) != 0) {
        call_free(c);
        free(cr);
        return -1;
    }
    body_fini(&rq->body); /* the tensor holds what it needs */
    refs_end(rq);
    if (!cr) {
        call_free(c);
        return err_set(e, ERR_no_memory, "a call");
    }
    cr->rank = c->rank;
    cr->value = value;
    job_request_init(&cr->jr, rq, wait_us);
    request_state(rq, cr, state_free);
    c->wait = &cr->jr.wait;
    rq->resume = called;
    job_request_suspend(&cr->jr);
    call_post(c);
    return SUSPENDED;
}

static int parent_there(struct request *rq, struct err *e)
{
    struct job_record *of;
    int rc;

    if (parent_found(rq, &of, e) != 0)
        return -1;
    rc = create(rq, of, false, e);
    record_free(of);
    return rc;
}

int api_call_create(struct request *rq, struct err *e)
{
    struct json_span input;
    const char *op, *job;
    struct id id;
    bool has_input;

    if (refs_begin(rq, e) != 0 ||
        (rq->has_body && submit_read_members(rq, WHERE_CALL, "input", &input, &has_input, e) != 0))
        return -1;
    op = params_text(rq->params, PARAM_op);
    job = params_text(rq->params, PARAM_job);
    if (!op || strcmp(op, "backward") != 0) {
        if (!job)
            return create(rq, NULL, false, e);
        err_set(e, ERR_axis_not_taken, "job goes with op=backward");
        return err_pointer(e, "/job");
    }
    if (!job) {
        err_set(e, ERR_missing_parameter, "say which job's gradient: job=j_...");
        return err_pointer(e, "/job");
    }
    if (id_parse('j', job, strlen(job), &id) == 0)
        return parent_find(rq, &id, parent_there, e);
    err_set(e, ERR_job_unknown, "there is no job %.64s", job);
    return err_pointer(e, "/job");
}

static const struct op *row_of(enum kind kind)
{
    const struct op *op = ops;

    while (op->kind != kind)
        op++;
    return op;
}

/* A call in other words: the rank is in the query, and the operation that of this kind. */
static int as_call(struct request *rq, enum kind kind, struct err *e)
{
    if (!params_has(rq->params, PARAM_rank)) {
        err_set(e, ERR_missing_parameter, "say in the query which rank has come: ?rank=0");
        return err_pointer(e, "/rank");
    }
    snprintf(rq->args[1], sizeof rq->args[1], "%lld",
             (long long)params_int(rq->params, PARAM_rank, 0));
    return params_from_query(rq->params, WHERE_CALL, "op", row_of(kind)->name, e);
}

int api_barrier(struct request *rq, struct err *e)
{
    return as_call(rq, KIND_BARRIER, e) != 0 ? -1 : create(rq, NULL, false, e);
}

int api_bcast(struct request *rq, struct err *e)
{
    return as_call(rq, KIND_BROADCAST, e) != 0 ? -1 : create(rq, NULL, true, e);
}
