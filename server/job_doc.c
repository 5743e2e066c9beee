/* job_doc.c - jobs, outputs and tensors as JSON documents. */
#include "server/api.h"
#include "server/group.h"
#include "server/problem.h"
#include "server/region.h"

#include <stdio.h>
#include <string.h>

static void shape_write(struct text *out, const char *name, const struct shape *s)
{
    text_array(out, name);
    for (uint32_t d = 0; d < s->ndim; d++)
        text_uint(out, NULL, s->dim[d]);
    text_end_array(out);
}

static void id_write(struct text *out, const char *name, char prefix, const struct id *id)
{
    char buf[ID_TEXT];

    text_string(out, name, id_is_zero(id) ? NULL : id_format(prefix, id, buf));
}

static const char *location(const struct tensor *t)
{
    if (tensor_lost(t))
        return "lost";
    return tensor_away(t) ? "device" : region_of(t->extent) ? "region" : "arena";
}

const char *data_omitted(char buf[OMITTED_TEXT], uint64_t elements, bool asks)
{
    if (elements <= LIMIT_INLINE_ELEMENTS)
        return NULL;
    snprintf(buf, OMITTED_TEXT,
             "%llu elements, and JSON shows at most %d unasked: %sask for application/x-npy, "
             "application/vnd.safetensors or application/octet-stream (Accept)",
             (unsigned long long)elements, LIMIT_INLINE_ELEMENTS,
             asks && elements <= LIMIT_JSON_ELEMENTS ? "add data=1, or " : "");
    return buf;
}

/* The same of a job's outputs, which count together. */
static const char *outputs_omitted(char buf[OMITTED_TEXT], uint64_t elements, struct shown shown)
{
    if (!shown.full && (shown.data >= 0 || elements <= LIMIT_INLINE_ELEMENTS))
        return NULL;
    if (!shown.full)
        snprintf(
            buf, OMITTED_TEXT,
            "%llu elements in all outputs, and JSON shows at most %d unasked: %sget the job's "
            "outputs (/outputs, with Accept) as application/x-npy, application/vnd.safetensors "
            "or application/octet-stream",
            (unsigned long long)elements, LIMIT_INLINE_ELEMENTS,
            elements <= LIMIT_JSON_ELEMENTS ? "add data=1, or " : "");
    else
        snprintf(
            buf, OMITTED_TEXT,
            "the jobs of this answer have more than the %u elements that JSON shows: ask for the "
            "outputs of this one",
            LIMIT_JSON_ELEMENTS);
    return buf;
}

static void omitted_write(struct text *out, const char *omitted)
{
    if (omitted)
        text_string(out, "data_omitted", omitted);
}

void tensor_doc_write(struct text *out, struct tensor *t, bool data, const char *omitted)
{
    text_object(out, NULL);
    id_write(out, "tensor", 't', &t->id);
    text_string(out, "dtype", dtypes[t->dtype].name);
    shape_write(out, "shape", &t->shape);
    text_uint(out, "size_bytes", t->size_bytes);
    text_string(out, "location", location(t));
    id_write(out, "job", 'j', &t->job);
    text_time(out, "created_at", t->created_us);
    text_time(out, "expires_at", t->expires_us == UINT64_MAX ? 0 : t->expires_us);
    if (data) {
        text_name(out, "data");
        json_tensor_write(out, t);
    }
    omitted_write(out, omitted);
    text_end_object(out);
}

/* Has no rank before it the same output? */
static bool is_first(const struct job_record *r, uint32_t rank)
{
    for (uint32_t i = 0; i < rank; i++) {
        if (id_equal(&r->outputs[i], &r->outputs[rank]))
            return false;
    }
    return true;
}

/* Of all ranks together, or, where each is shown once, of as many as will differ. */
static uint64_t output_elements(const struct job_record *r, bool unique)
{
    uint64_t outputs = 0;

    for (uint32_t i = 0; i < r->n; i++)
        outputs += record_gets(r, i);
    if (unique && record_shares_output(r) && outputs > 0)
        outputs = 1;
    return outputs * json_tensor_elements(&r->out_shape);
}

static bool shows_data(const struct job_record *r, struct shown shown)
{
    return shown.data >= 0 ? shown.data > 0
                           : output_elements(r, shown.unique) <= LIMIT_INLINE_ELEMENTS;
}

int job_doc_check(const struct job_record *r, struct shown shown, struct err *e)
{
    uint64_t elements = output_elements(r, shown.unique);

    if (shown.data < 1 || elements <= LIMIT_JSON_ELEMENTS)
        return 0;
    return err_set(e, ERR_not_acceptable,
                   "the outputs have %llu elements, and JSON shows at most %u; ask for npy, "
                   "safetensors or raw",
                   (unsigned long long)elements, LIMIT_JSON_ELEMENTS);
}

/* Where a client that has mapped the region finds its bytes. */
static void place_write(struct text *out, const struct tensor *t)
{
    const struct region *of = t ? region_of(t->extent) : NULL;

    if (!of)
        return;
    id_write(out, "region", 'r', &of->id);
    text_uint(out, "offset", tensor_arena_offset(t) - of->offset);
}

/* A tensor that is gone (deleted, or past its time) shows without data. */
void output_doc_write(struct text *out, const struct job_record *r, uint32_t rank, bool data,
                      const char *omitted)
{
    struct tensor *t = data || regions_any() ? tensor_find(&r->outputs[rank]) : NULL;

    text_object(out, NULL);
    text_uint(out, "rank", rank);
    id_write(out, "tensor", 't', &r->outputs[rank]);
    text_string(out, "dtype", dtypes[r->dtype].name);
    shape_write(out, "shape", &r->out_shape);
    place_write(out, t);
    if (data && t && (tensor_data(t) || t->size_bytes == 0)) {
        text_name(out, "data");
        json_tensor_write(out, t);
    }
    omitted_write(out, omitted);
    text_end_object(out);
    tensor_unref(t);
}

void outputs_doc_write(struct text *out, const char *name, const struct job_record *r,
                       struct shown shown)
{
    char why[OMITTED_TEXT];
    const char *omitted;
    bool show;

    if (!r->outputs || r->state != JOB_succeeded) {
        text_null(out, name);
        return;
    }
    show = shows_data(r, shown);
    omitted = show ? NULL : outputs_omitted(why, output_elements(r, shown.unique), shown);
    text_array(out, name);
    for (uint32_t i = 0; i < r->n; i++) {
        bool first = !shown.unique || is_first(r, i);

        if (id_is_zero(&r->outputs[i]))
            text_null(out, NULL);
        else
            output_doc_write(out, r, i, show && first, first ? omitted : NULL);
    }
    text_end_array(out);
}

static void duration(struct text *out, const char *name, bool happened, uint64_t us)
{
    if (happened)
        text_uint(out, name, us);
    else
        text_null(out, name);
}

/* Of every rank; what is not known is null. */
static void times_write(struct text *out, const struct job_record *r)
{
    text_array(out, "ranks");
    for (uint32_t i = 0; r->times && i < r->n; i++) {
        const struct rank_time *t = &r->times[i];

        text_object(out, NULL);
        text_uint(out, "rank", i);
        text_uint(out, "world_rank", r->ranks[i]);
        if (t->end_ns) {
            text_double(out, "started_us", (double)t->start_ns / 1e3);
            text_double(out, "collective_us", (double)(t->end_ns - t->start_ns) / 1e3);
        } else {
            text_null(out, "started_us");
            text_null(out, "collective_us");
        }
        text_end_object(out);
    }
    text_end_array(out);
}

static void timeline_write(struct text *out, const struct job_record *r)
{
    bool ran = r->attempts > 0, done = job_state_terminal(r->state);

    text_object(out, "timeline");
    text_time(out, "received_at", r->received_us);
    text_uint(out, "validated_us", r->validated_us);
    text_uint(out, "queued_us", r->queued_us);
    duration(out, "dispatch_us", ran, r->dispatch_us);
    duration(out, "staging_us", ran, r->staging_us);
    duration(out, "collective_us", r->state == JOB_succeeded, r->collective_us);
    duration(out, "total_us", done, r->total_us);
    text_time(out, "finished_at", r->finished_us);
    times_write(out, r);
    text_end_object(out);
}

static void rate(struct text *out, const char *name, bool ran, double value)
{
    if (ran)
        text_double(out, name, value);
    else
        text_null(out, name);
}

/* Which of its ranks' calls it is, and, as long as it is known, who came and who has not. */
static void calls_write(struct text *out, const struct job_record *r)
{
    text_uint(out, "seq", r->call_seq);
    if (!r->came_us)
        return;
    text_array(out, "arrived");
    for (uint32_t i = 0; i < r->n; i++) {
        if (!r->came_us[i])
            continue;
        text_object(out, NULL);
        text_uint(out, "rank", i);
        text_time(out, "at", r->came_us[i]);
        text_end_object(out);
    }
    text_end_array(out);
    text_array(out, "missing");
    for (uint32_t i = 0; i < r->n && r->state == JOB_waiting; i++) {
        if (!r->came_us[i] && record_calls(r, i))
            text_uint(out, NULL, i);
    }
    text_end_array(out);
}

/* As long as it waits for jobs whose outputs it takes. */
static void awaits_write(struct text *out, const struct job_record *r)
{
    if (!r->awaits)
        return;
    text_array(out, "waits_for");
    for (uint32_t i = 0; i < r->n_awaits; i++)
        id_write(out, NULL, 'j', &r->awaits[i]);
    text_end_array(out);
}

/* As a request would say them. */
static void parameters_write(struct text *out, const struct job_record *r)
{
    const struct op_params *p = &r->params;

    text_object(out, "parameters");
    if (op_takes_axis(r->op))
        text_int(out, "axis", p->split_axis);
    if (op_takes_two_axes(r->op)) {
        text_int(out, "split_axis", p->split_axis);
        text_int(out, "concat_axis", p->concat_axis);
    }
    if (op_takes_peers(r->op)) {
        text_uint(out, "src", p->src);
        text_uint(out, "dst", p->dst);
    }
    text_double(out, "timeout", (double)r->timeout_us / 1e6);
    text_end_object(out);
}

void group_name_write(struct text *out, const char *name, const char *full)
{
    char account[LIMIT_ACCOUNT_BYTES + 1];

    text_string(out, name, group_short(full));
    group_account(full, account);
    if (account[0])
        text_string(out, "owner", account);
}

void job_doc_write(struct text *out, const struct job_record *r, struct shown shown)
{
    text_object(out, NULL);
    id_write(out, "id", 'j', &r->id);
    text_string(out, "op", r->op->name);
    id_write(out, "parent", 'j', &r->parent);
    text_string(out, "group", r->group[0] ? group_short(r->group) : NULL);
    if (r->owner->name[0])
        text_string(out, "owner", r->owner->name);
    text_array(out, "ranks");
    for (uint32_t i = 0; i < r->n; i++)
        text_uint(out, NULL, r->ranks[i]);
    text_end_array(out);
    text_string(out, "dtype", record_has_tensor(r) ? dtypes[r->dtype].name : NULL);
    if (record_has_tensor(r))
        shape_write(out, "input_shape", &r->in_shape);
    else
        text_null(out, "input_shape");
    parameters_write(out, r);
    if (r->called)
        calls_write(out, r);
    awaits_write(out, r);
    text_string(out, "state", job_state_name(r->state));
    text_string(out, "label", r->label[0] ? r->label : NULL);
    text_int(out, "priority", r->priority);
    text_uint(out, "stream", r->stream);
    text_bool(out, "resident", r->resident);
    outputs_doc_write(out, "outputs", r, shown);
    timeline_write(out, r);
    rate(out, "algbw_GBps", r->state == JOB_succeeded, record_algbw(r));
    rate(out, "busbw_GBps", r->state == JOB_succeeded, record_busbw(r));
    text_uint(out, "attempts", r->attempts);
    if (r->error) {
        text_name(out, "error");
        out->comma = false;
        problem_write(out, r->error, NULL);
    } else {
        text_null(out, "error");
    }
    text_end_object(out);
}
