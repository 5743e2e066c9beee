/* api_submit.c - from a request to a job: members, op, group, parameters. */
#include "server/api_submit.h"
#include "server/backward.h"
#include "server/workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a batch, whose lines are jobs. */
static bool in_query_only(const char *name)
{
    return strcmp(name, "wait") == 0 || strcmp(name, "data") == 0;
}

int submit_read_members(struct request *rq, unsigned where, const char *name,
                        struct json_span *inputs, bool *has_inputs, struct err *e)
{
    struct json_member m[LIMIT_JSON_MEMBERS];
    uint32_t n;

    *has_inputs = false;
    if (rq->body.codec)
        return 0;
    if (json_kind(&rq->body.json) != JSON_OBJECT)
        return err_set(e, ERR_inputs_invalid, "%s is an object: {%s\"%s\": ...}",
                       where & WHERE_LINE ? "a line" : "the body",
                       where & WHERE_BACKWARD ? "" : "\"op\": ..., ", name);
    if (json_members(&rq->body.json, m, LIMIT_JSON_MEMBERS, &n, e) != 0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(m[i].name, name) == 0) {
            *inputs = m[i].value;
            *has_inputs = true;
        } else if (params_from_json(rq->params, where, &m[i], e) != 0) {
            if (e->code == ERR_unknown_parameter && strncmp(m[i].name, "input", 5) == 0) {
                err_set(e, ERR_unknown_parameter, "there is no member %s; did you mean %s?",
                        m[i].name, name);
                err_pointer(e, "/%s", m[i].name);
            }
            if (e->code == ERR_unknown_parameter && where & WHERE_LINE && in_query_only(m[i].name))
                err_set(e, ERR_unknown_parameter, "%s is for the whole batch: it goes in the query",
                        m[i].name);
            return -1;
        }
    }
    return 0;
}

static int find_op(const struct params *p, const struct op **out, struct err *e)
{
    if (params_op(p, out, e) != 0)
        return err_pointer(e, "/op");
    if (*out)
        return 0;
    err_set(e, ERR_missing_parameter, "say which operation: op is one of %s", op_names());
    return err_pointer(e, "/op");
}

static int find_group(const struct request *rq, struct group *g, struct err *e)
{
    const struct params *p = rq->params;
    const struct params_group *asked = &p->group;
    const char *name = asked->name[0] ? asked->name : "world";
    char full[LIMIT_FULL_GROUP_BYTES + 1];

    if (params_has(p, PARAM_group) && asked->n > 0) {
        g->name[0] = '\0';
        g->n = asked->n;
        memcpy(g->ranks, asked->ranks, asked->n * sizeof g->ranks[0]);
        if (group_check_ranks(g->ranks, g->n, e) == 0)
            return 0;
        return err_pointer(e, "/group");
    }
    group_full(rq->visitor.account, name, full);
    if (group_check_name(name, strlen(name), e) == 0 && group_find(full, strlen(full), g, e) == 0)
        return 0;
    return err_pointer(e, "/group");
}

/* A parameter that the op does not take would be silently without effect. */
static int check_taken(const struct params *p, const struct op *op, struct err *e)
{
    const struct {
        enum param_id id;
        const char *name;
        bool taken;
    } rows[] = {
        {PARAM_axis, "axis", op_takes_axis(op)},
        {PARAM_split_axis, "split_axis", op_takes_two_axes(op)},
        {PARAM_concat_axis, "concat_axis", op_takes_two_axes(op)},
        {PARAM_src, "src", op_takes_peers(op)},
        {PARAM_dst, "dst", op_takes_peers(op)},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].taken || !params_has(p, rows[i].id))
            continue;
        err_set(e, ERR_axis_not_taken, "%s takes no %s", op->name, rows[i].name);
        return err_pointer(e, "/%s", rows[i].name);
    }
    return 0;
}

static struct op_params op_parameters(const struct params *p, const struct op *op)
{
    int64_t axis = params_int(p, PARAM_axis, 0);
    bool two = op_takes_two_axes(op);

    return (struct op_params){
        .split_axis = two ? params_int(p, PARAM_split_axis, 0) : axis,
        .concat_axis = two ? params_int(p, PARAM_concat_axis, 0) : axis,
        .src = (uint32_t)params_int(p, PARAM_src, 0),
        .dst = (uint32_t)params_int(p, PARAM_dst, 1),
    };
}

/* "gpu1:3", "cpu0", "xpux:2": kind, number or x for any, stream. */
struct device_name {
    bool any_kind, any_number;
    const char *kind;
    uint32_t number, stream;
};

/* Digits at *at into out; false when there is none, or it is past the most. */
static bool read_number(const char **at, uint32_t most, uint32_t *out)
{
    char *end;
    unsigned long n = strtoul(*at, &end, 10);

    if (**at < '0' || **at > '9' || n > most)
        return false;
    *at = end;
    *out = (uint32_t)n;
    return true;
}

static bool read_device(const char *text, struct device_name *d)
{
    *d = (struct device_name){.kind = strncmp(text, "cpu", 3) == 0 ? "cpu" : "gpu"};
    d->any_kind = strncmp(text, "xpu", 3) == 0;
    if (!d->any_kind && strncmp(text, d->kind, 3) != 0)
        return false;
    text += 3;
    d->any_number = *text == 'x';
    text += d->any_number;
    if (!d->any_number && !read_number(&text, LIMIT_RANKS, &d->number))
        return false;
    if (*text == ':') {
        text++;
        if (!read_number(&text, LIMIT_STREAM, &d->stream))
            return false;
    }
    return *text == '\0';
}

/* Does a rank of the group run on it? Of a rank that nobody has held yet, that is not known. CPUs
 * are not numbered. */
static bool has_device(const struct group *g, const struct device_name *d)
{
    struct worker_info *all = calloc(group_world_size(), sizeof *all);
    bool found = !all;

    if (all)
        workers_list(all);
    for (uint32_t i = 0; i < g->n && !found; i++) {
        const char *at = all[g->ranks[i]].device;
        bool cpu = strncmp(at, "cpu", 3) == 0;

        if (!*at)
            found = true;
        else if (d->any_kind || strncmp(at, d->kind, 3) == 0)
            found = cpu || d->any_number ||
                    strtoul(at + strcspn(at, ":") + 1, NULL, 10) == d->number;
    }
    free(all);
    return found;
}

/* `device` names the stream, too. */
static int check_device(const struct params *p, const struct group *g, uint32_t *stream,
                        struct err *e)
{
    const char *text = params_text(p, PARAM_device);
    struct device_name d;

    *stream = (uint32_t)params_int(p, PARAM_stream, 0);
    if (!text)
        return 0;
    if (!read_device(text, &d))
        err_set(e, ERR_bad_parameter, "device is gpuN, gpuN:k, gpux:k or cpuN:k, k from 0 to %d",
                LIMIT_STREAM);
    else if (params_has(p, PARAM_stream) && *stream != d.stream)
        err_set(e, ERR_conflicting_parameter, "device=%s is stream %u, and stream=%u another", text,
                d.stream, *stream);
    else if (!has_device(g, &d))
        err_set(e, ERR_parameter_range, "no rank of the group is on %s: see /v1/workers", text);
    else {
        *stream = d.stream;
        return 0;
    }
    return err_pointer(e, "/device");
}

/* A call's job is its group's, whoever of those who may has come first: an admin who takes part in
 * an account's call takes it from nobody. */
static struct account *owner_of(const struct request *rq, const struct job_record *r)
{
    char account[LIMIT_ACCOUNT_BYTES + 1];

    group_account(r->group, account);
    return r->group[0] ? account_find(account) : rq->visitor.account;
}

/* Whose it is, and how it runs. */
static void fill(struct job_record *r, const struct request *rq, uint32_t stream)
{
    const struct params *p = rq->params;
    const char *label = params_text(p, PARAM_label);

    r->id = id_new();
    r->owner = owner_of(rq, r);
    r->priority = (int32_t)params_int(p, PARAM_priority, 0);
    r->stream = stream;
    r->resident = params_int(p, PARAM_resident, 0) != 0;
    r->timeout_us = params_us(p, PARAM_timeout, LIMIT_TIMEOUT_DEFAULT_S * 1000000ull);
    snprintf(r->label, sizeof r->label, "%s", label ? label : "");
    r->received_us = rq->received_us;
}

/* A record of the request for this group. */
static int make_record(const struct request *rq, const struct op *op, const struct group *g,
                       struct job_record **out, struct err *e)
{
    struct job_record *r;
    uint32_t stream;

    if (check_device(rq->params, g, &stream, e) != 0)
        return -1;
    r = record_new(g->n);
    if (!r)
        return err_set(e, ERR_no_memory, "a job");
    r->op = op;
    r->params = op_parameters(rq->params, op);
    snprintf(r->group, sizeof r->group, "%s", g->name);
    memcpy(r->ranks, g->ranks, g->n * sizeof g->ranks[0]);
    fill(r, rq, stream);
    *out = r;
    return 0;
}

static int check_peers(struct job_record **r, struct err *e)
{
    if (op_check_peers((*r)->op, &(*r)->params, (*r)->n, e) == 0)
        return 0;
    record_free(*r);
    *r = NULL;
    return -1;
}

int submit_read_record(const struct request *rq, struct job_record **out, struct err *e)
{
    const struct op *op;
    struct group *g = malloc(sizeof *g);
    int rc = -1;

    if (!g)
        return err_set(e, ERR_no_memory, "a group");
    if (find_op(rq->params, &op, e) == 0 && check_taken(rq->params, op, e) == 0 &&
        find_group(rq, g, e) == 0 && make_record(rq, op, g, out, e) == 0)
        rc = check_peers(out, e);
    free(g);
    return rc;
}

/* The caller is one end; the request names the other one, and may name both. */
static int find_ends(const struct params *p, uint32_t rank, struct op_params *ends, struct err *e)
{
    bool has_src = params_has(p, PARAM_src), has_dst = params_has(p, PARAM_dst);

    if (!has_src && !has_dst) {
        err_set(e, ERR_missing_parameter,
                "say dst, to send to that rank, or src, to receive from it");
        return err_pointer(e, "/dst");
    }
    if (!has_src)
        ends->src = rank;
    if (!has_dst)
        ends->dst = rank;
    if (ends->src == rank || ends->dst == rank)
        return 0;
    err_set(e, ERR_rank_invalid, "rank %u calls, and is neither src %u nor dst %u", rank, ends->src,
            ends->dst);
    return err_pointer(e, "/src");
}

int submit_read_call(const struct request *rq, const struct group *g, uint32_t rank,
                     struct job_record **out, struct err *e)
{
    const struct op *op;

    if (find_op(rq->params, &op, e) != 0 || check_taken(rq->params, op, e) != 0 ||
        make_record(rq, op, g, out, e) != 0)
        return -1;
    if (op_takes_peers(op) && find_ends(rq->params, rank, &(*out)->params, e) != 0) {
        record_free(*out);
        *out = NULL;
        return -1;
    }
    return check_peers(out, e);
}

/* A call's gradient is of a job of the same ranks. */
static int check_ranks(const struct job_record *r, const struct group *g, struct err *e)
{
    if (g->n == r->n && memcmp(g->ranks, r->ranks, r->n * sizeof *r->ranks) == 0)
        return 0;
    err_set(e, ERR_group_invalid, "the job ran on other ranks than this group's");
    return err_pointer(e, "/job");
}

/* The world may have become smaller since it ran. */
static int check_world(const struct job_record *of, struct err *e)
{
    struct err why;

    return group_check_ranks(of->ranks, of->n, &why) == 0
               ? 0
               : err_set(e, ERR_group_invalid, "the job's ranks are not all there any more: %s",
                         why.detail);
}

/* Named as the job's was, if that name is the asker's too. */
static void group_of_gradient(const struct request *rq, const struct job_record *of,
                              struct job_record *r)
{
    if (of->owner != rq->visitor.account)
        r->group[0] = '\0';
}

int submit_read_gradient(const struct request *rq, const struct job_record *of,
                         const struct group *g, struct job_record **out, struct err *e)
{
    static const struct op backward = {.name = "backward"}; /* takes nothing: all is the job's */
    const struct params *p = rq->params;
    uint32_t stream = 0;

    if (check_taken(p, &backward, e) != 0 || check_world(of, e) != 0 ||
        (g && (check_ranks(of, g, e) != 0 || check_device(p, g, &stream, e) != 0)))
        return -1;
    if (!params_has(p, PARAM_device))
        stream = (uint32_t)params_int(p, PARAM_stream, of->stream);
    *out = backward_record(of, e);
    if (!*out)
        return -1;
    if (g)
        snprintf((*out)->group, sizeof(*out)->group, "%s", g->name);
    else
        group_of_gradient(rq, of, *out);
    fill(*out, rq, stream);
    if (!(*out)->resident || (*out)->mask == MASK_NONE)
        return 0;
    record_free(*out);
    *out = NULL;
    err_set(e, ERR_parameter_range,
            "the gradient of a maximum or minimum is made in host memory, and cannot stay on GPUs");
    return err_pointer(e, "/resident");
}

int submit_read_key(const struct request *rq, char *key, struct err *e)
{
    const char *given = request_header(rq, "Idempotency-Key");
    size_t len = given ? strlen(given) : 0;

    key[0] = '\0';
    if (!given)
        return 0;
    for (size_t i = 0; i < len; i++)
        if (given[i] < 0x20 || given[i] > 0x7e)
            len = 0;
    if (len == 0 || len > LIMIT_KEY_BYTES)
        return err_set(e, ERR_bad_header, "Idempotency-Key is 1 to %d printable ASCII characters",
                       LIMIT_KEY_BYTES);
    memcpy(key, given, len + 1);
    return 0;
}

/* What the marks divide can have none of them. */
int submit_read_own_key(const struct request *rq, char *key, struct err *e)
{
    const char *name = rq->visitor.account->name;
    char given[LIMIT_KEY_BYTES + 1];

    if (submit_read_key(rq, given, e) != 0)
        return -1;
    if (name[0] && given[0])
        snprintf(key, LIMIT_FULL_KEY_BYTES + 1, "\x1d%s\x1d%s", name, given);
    else
        strcpy(key, given);
    return 0;
}
