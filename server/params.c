/* params.c - query and JSON members to typed values, over params.def. */
#include "server/params.h"
#include "server/codec.h"
#include "server/nearest.h"
#include "server/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct row {
    const char *name;
    enum param_type type;
    unsigned where;
    int64_t min, max;
    const char *type_name, *deflt, *sentence;
} rows[PARAM_COUNT] = {
#define JOB WHERE_JOB
#define TENSOR WHERE_TENSOR
#define READ_JOB WHERE_READ_JOB
#define LIST_JOBS WHERE_LIST_JOBS
#define LIST WHERE_LIST
#define READ_TENSOR WHERE_READ_TENSOR
#define OUTPUT WHERE_OUTPUT
#define CALL WHERE_CALL
#define BARRIER WHERE_BARRIER
#define BACKWARD WHERE_BACKWARD
#define KV WHERE_KV
#define PUT_KV WHERE_PUT_KV
#define LIST_KV WHERE_LIST_KV
#define BATCH WHERE_BATCH
#define LINE WHERE_LINE
#define TRACE WHERE_TRACE
#define PARAM(name, type, where, min, max, deflt, sentence) \
    [PARAM_##name] = {#name, TYPE_##type, where, min, max, #type, deflt, sentence},
#include "schema/params.def"
#undef PARAM
#undef JOB
#undef TENSOR
#undef READ_JOB
#undef LIST_JOBS
#undef LIST
#undef READ_TENSOR
#undef OUTPUT
#undef CALL
#undef BARRIER
#undef BACKWARD
#undef KV
#undef PUT_KV
#undef LIST_KV
#undef BATCH
#undef LINE
#undef TRACE
};

void params_init(struct params *p)
{
    memset(p, 0, sizeof *p);
}

bool params_has(const struct params *p, enum param_id id)
{
    return p->has >> id & 1;
}

bool params_taken(unsigned where, enum param_id id)
{
    return (rows[id].where & where) != 0;
}

/* ---- unknown names ---- */

static int unknown(unsigned where, const char *name, struct err *e)
{
    struct nearest near;

    nearest_init(&near, name);
    for (int i = 0; i < PARAM_COUNT; i++)
        if (rows[i].where & where)
            nearest_try(&near, rows[i].name);
    if (near.best)
        return err_set(e, ERR_unknown_parameter,
                       "there is no parameter %.64s here; did you mean %s?", name, near.best);
    return err_set(e, ERR_unknown_parameter, "there is no parameter %.64s here", name);
}

static const struct row *find(unsigned where, const char *name)
{
    for (int i = 0; i < PARAM_COUNT; i++)
        if (rows[i].where & where && strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

/* ---- values as text ---- */

static int malformed(const struct row *r, const char *value, const char *want, struct err *e)
{
    return err_set(e, ERR_bad_parameter, "%s is %s, not \"%.64s\"", r->name, want, value);
}

static int out_of_range(const struct row *r, const char *value, struct err *e)
{
    return err_set(e, ERR_parameter_range, "%s is %.40s; it must be from %lld to %lld", r->name,
                   value, (long long)r->min, (long long)r->max);
}

static int too_long(const struct row *r, size_t len, size_t most, struct err *e)
{
    return err_set(e, ERR_parameter_range, "%s is too long: it has %zu bytes, and may have %zu",
                   r->name, len, most);
}

static bool is_integer(const char *s)
{
    s += *s == '-';
    return *s && strspn(s, "0123456789") == strlen(s);
}

static int read_int(struct params *p, const struct row *r, const char *value, struct err *e)
{
    long long v = strtoll(value, NULL, 10); /* clamps, and the clamp is out of range, too */

    if (!is_integer(value))
        return malformed(r, value, "an integer", e);
    if (v < r->min || v > r->max)
        return out_of_range(r, value, e);
    p->number[r - rows] = v;
    return 0;
}

static int read_flag(struct params *p, const struct row *r, const char *value, struct err *e)
{
    bool on = strcmp(value, "1") == 0 || strcmp(value, "true") == 0;

    if (!on && strcmp(value, "0") != 0 && strcmp(value, "false") != 0)
        return malformed(r, value, "0, 1, true or false", e);
    p->number[r - rows] = on;
    return 0;
}

static int read_seconds(struct params *p, const struct row *r, const char *value, struct err *e)
{
    char *end;
    double v = strtod(value, &end);

    if (!*value || *end || !isfinite(v) || strspn(value, "0123456789.eE+-") != strlen(value))
        return malformed(r, value, "a number of seconds", e);
    if (v < (double)r->min || v > (double)r->max)
        return out_of_range(r, value, e);
    p->us[r - rows] = (uint64_t)(v * 1e6 + 0.5);
    return 0;
}

static int read_text(struct params *p, const struct row *r, const char *value, struct err *e)
{
    if (strlen(value) > (size_t)r->max)
        return too_long(r, strlen(value), (size_t)r->max, e);
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_set(e, ERR_parameter_range, "%s has a control character", r->name);
    strcpy(p->text[r - rows], value);
    return 0;
}

static int read_dtype(struct params *p, const struct row *r, const char *value, struct err *e)
{
    (void)r;
    if (dtype_find(value, strlen(value), &p->dtype) == 0)
        return 0;
    return err_set(e, ERR_dtype_unsupported, "%.64s is no dtype; there are: %s", value,
                   dtype_names());
}

/* "2,3"; "" is a scalar. */
static int read_shape(struct params *p, const struct row *r, const char *value, struct err *e)
{
    p->shape.ndim = 0;
    while (*value) {
        char part[24];
        size_t len = strcspn(value, ",");

        snprintf(part, sizeof part, "%.*s", (int)len, value);
        if (len > 20 ? strspn(value, "0123456789") != len : !is_integer(part))
            return malformed(r, value, "lengths with commas, as 2,3", e);
        if (part[0] == '-')
            return err_set(e, ERR_shape_invalid, "a length of the shape is negative");
        if (p->shape.ndim == LIMIT_NDIM)
            return err_set(e, ERR_shape_invalid, "a shape has at most %d dimensions", LIMIT_NDIM);
        if (len > 20 || number_read(part, len, DTYPE_uint64, &p->shape.dim[p->shape.ndim], e) != 0)
            return err_set(e, ERR_shape_too_large, "a length of the shape passes 2^64");
        p->shape.ndim++;
        value += len;
        if (*value == ',' && !*++value)
            return malformed(r, "", "lengths with commas, as 2,3", e);
    }
    return 0;
}

static int add_rank(struct params *p, const char *text, size_t len, struct err *e)
{
    struct params_group *g = &p->group;

    if (g->n == LIMIT_RANKS || number_read(text, len, DTYPE_uint32, &g->ranks[g->n], e) != 0) {
        err_set(e, ERR_group_invalid, "a group is a name or a list of world ranks, not %.*s",
                (int)(len < 40 ? len : 40), text);
        return err_pointer(e, "/group");
    }
    g->n++;
    return 0;
}

static int read_group(struct params *p, const struct row *r, const char *value, struct err *e)
{
    char list[6 * LIMIT_RANKS];
    size_t len = strlen(value);

    (void)r;
    p->group.n = 0;
    if (value[0] == '[' && (value[len - 1] != ']' || len >= sizeof list))
        return err_set(e, ERR_group_invalid, "a list of ranks is written 0,1,2");
    if (value[0] == '[') {
        memcpy(list, value + 1, len - 2); /* as JSON would write it */
        list[len - 2] = '\0';
        value = list;
    }
    if (!(*value >= '0' && *value <= '9') && *value != '-' && *value != ',') {
        if (!*value || strlen(value) > LIMIT_GROUP_NAME_BYTES)
            return err_set(e, ERR_group_invalid, "a group's name has 1 to %d characters",
                           LIMIT_GROUP_NAME_BYTES);
        strcpy(p->group.name, value);
        return 0;
    }
    while (*value) {
        len = strcspn(value, ",");
        if (len == 0 || strspn(value, "0123456789") != len)
            return err_set(e, ERR_group_invalid, "a list of ranks is written 0,1,2");
        if (add_rank(p, value, len, e) != 0)
            return -1;
        value += len;
        if (*value == ',' && !*++value)
            return err_set(e, ERR_group_invalid, "a list of ranks is written 0,1,2");
    }
    return 0;
}

static int read_jobs(struct params *p, const struct row *r, const char *value, struct err *e)
{
    for (p->n_jobs = 0;; p->n_jobs++) {
        size_t len = strcspn(value, ",");

        if (p->n_jobs == r->max)
            return err_set(e, ERR_parameter_range, "%s names at most %lld jobs", r->name,
                           (long long)r->max);
        if (id_parse('j', value, len, &p->jobs[p->n_jobs]) != 0)
            return malformed(r, value, "ids of jobs with commas, as j_...,j_...", e);
        value += len;
        if (!*value++)
            break;
    }
    p->n_jobs++;
    return 0;
}

static int (*const readers[])(struct params *, const struct row *, const char *, struct err *) = {
    [TYPE_INT] = read_int,     [TYPE_FLAG] = read_flag,   [TYPE_SECONDS] = read_seconds,
    [TYPE_TEXT] = read_text,   [TYPE_DTYPE] = read_dtype, [TYPE_SHAPE] = read_shape,
    [TYPE_GROUP] = read_group, [TYPE_JOBS] = read_jobs,
};

int params_from_query(struct params *p, unsigned where, const char *name, const char *value,
                      struct err *e)
{
    const struct row *r = find(where, name);
    enum param_id id;

    if (!r)
        return unknown(where, name, e);
    id = (enum param_id)(r - rows);
    if (params_has(p, id))
        return err_set(e, ERR_conflicting_parameter, "%s is given twice", name);
    if (readers[r->type](p, r, value, e) != 0)
        return -1;
    p->has |= 1ull << id;
    snprintf(p->from_query_text[id], sizeof p->from_query_text[id], "%s", value);
    return 0;
}

/* ---- values as JSON ---- */

static int wrong_kind(const struct row *r, const struct json_span *v, const char *want,
                      struct err *e)
{
    return err_set(e, ERR_bad_parameter, "%s is %s, not %.*s", r->name, want,
                   (int)(v->len < 64 ? v->len : 64), v->at);
}

static int group_from_list(struct params *p, const struct json_span *list, struct err *e)
{
    struct json_span rank;
    size_t pos = 0;

    p->group.n = 0;
    while (json_next(list, &pos, &rank)) {
        if (json_kind(&rank) != JSON_NUMBER)
            return err_set(e, ERR_group_invalid, "a group's ranks are integers");
        if (add_rank(p, rank.at, rank.len, e) != 0)
            return -1;
    }
    if (p->group.n == 0)
        return err_set(e, ERR_group_invalid, "a group has at least one rank");
    return 0;
}

/* The member's value as the query would write it, or a list taken at once (then text is ""). */
static int value_text(struct params *p, const struct row *r, const struct json_span *v, char *text,
                      size_t size, struct err *e)
{
    enum json_kind kind = json_kind(v);

    text[0] = '\0';
    switch (r->type) {
    case TYPE_SHAPE:
        return json_shape_read(v, "/shape", &p->shape, e);
    case TYPE_GROUP:
        if (kind == JSON_ARRAY)
            return group_from_list(p, v, e);
        if (kind != JSON_STRING)
            return err_set(e, ERR_group_invalid, "a group is a name or a list of world ranks");
        break;
    case TYPE_TEXT:
        if (kind != JSON_STRING)
            return wrong_kind(r, v, "a string", e);
        break;
    case TYPE_DTYPE:
        if (kind != JSON_STRING)
            return err_set(e, ERR_dtype_unsupported, "dtype is a string, one of: %s",
                           dtype_names());
        break;
    case TYPE_FLAG:
        if (kind != JSON_TRUE && kind != JSON_FALSE && kind != JSON_NUMBER)
            return wrong_kind(r, v, "true or false", e);
        break;
    default:
        if (kind != JSON_NUMBER)
            return wrong_kind(r, v, "a number", e);
    }
    if (kind == JSON_STRING) {
        if (json_string(v, text, size) < 0) /* as it is written, with its escapes */
            return too_long(r, v->len - 2, r->type == TYPE_TEXT ? (size_t)r->max : size - 1, e);
    } else if (v->len >= size) {
        return too_long(r, v->len, size - 1, e);
    } else {
        memcpy(text, v->at, v->len);
        text[v->len] = '\0';
    }
    return 0;
}

static bool has_text(const struct row *r, const struct json_span *v)
{
    return r->type != TYPE_SHAPE && !(r->type == TYPE_GROUP && json_kind(v) == JSON_ARRAY);
}

/* A name in JSON is a name, also when it looks like a list. */
static int read_json(struct params *p, const struct row *r, const struct json_span *v,
                     const char *text, struct err *e)
{
    if (!has_text(r, v))
        return 0;
    if (r->type == TYPE_GROUP && *text >= '0' && *text <= '9')
        return err_set(e, ERR_group_invalid,
                       "a group's name begins with a letter; ranks are a list");
    return readers[r->type](p, r, text, e);
}

static bool same_value(const struct params *a, const struct params *b, const struct row *r)
{
    long id = r - rows;

    switch (r->type) {
    case TYPE_TEXT:
        return strcmp(a->text[id], b->text[id]) == 0;
    case TYPE_DTYPE:
        return a->dtype == b->dtype;
    case TYPE_SHAPE:
        return shape_equal(&a->shape, &b->shape);
    case TYPE_GROUP:
        return strcmp(a->group.name, b->group.name) == 0 && a->group.n == b->group.n &&
               memcmp(a->group.ranks, b->group.ranks, a->group.n * sizeof a->group.ranks[0]) == 0;
    case TYPE_SECONDS:
        return a->us[id] == b->us[id];
    default:
        return a->number[id] == b->number[id];
    }
}

int params_from_json(struct params *p, unsigned where, const struct json_member *m, struct err *e)
{
    const struct row *r = find(where, m->name);
    struct params *mine = p;
    char text[512];
    int rc = -1;

    if (!r) {
        unknown(where, m->name, e);
        return err_pointer(e, "/%s", m->name);
    }
    if (params_has(p, (enum param_id)(r - rows))) { /* read apart, to compare */
        mine = malloc(sizeof *mine);
        if (!mine)
            return err_set(e, ERR_no_memory, "parameters");
        params_init(mine);
    }
    if (value_text(mine, r, &m->value, text, sizeof text, e) != 0 ||
        read_json(mine, r, &m->value, text, e) != 0)
        goto out;
    if (mine != p && !same_value(mine, p, r)) {
        err_set(e, ERR_conflicting_parameter,
                "%s has one value in the query and another in the body", r->name);
        goto out;
    }
    p->has |= 1ull << (r - rows);
    rc = 0;
out:
    if (rc != 0)
        err_pointer(e, "/%s", m->name);
    if (mine != p)
        free(mine);
    return rc;
}

int64_t params_int(const struct params *p, enum param_id id, int64_t fallback)
{
    return params_has(p, id) ? p->number[id] : fallback;
}

uint64_t params_us(const struct params *p, enum param_id id, uint64_t fallback_us)
{
    return params_has(p, id) ? p->us[id] : fallback_us;
}

const char *params_text(const struct params *p, enum param_id id)
{
    return params_has(p, id) ? p->text[id] : NULL;
}

int params_op(const struct params *p, const struct op **out, struct err *e)
{
    const char *name = params_text(p, PARAM_op);
    struct nearest near;

    *out = name ? op_find(name, strlen(name)) : NULL;
    if (*out || !name)
        return 0;
    nearest_init(&near, name);
    for (int i = 0; i < OP_COUNT; i++)
        nearest_try(&near, ops[i].name);
    if (near.best)
        return err_set(e, ERR_op_unknown, "%s is no operation; did you mean %s? There are: %s",
                       name, near.best, op_names());
    return err_set(e, ERR_op_unknown, "%s is no operation; there are: %s", name, op_names());
}

void params_print_taken(unsigned where)
{
    for (int i = 0; i < PARAM_COUNT; i++)
        if (rows[i].where & where)
            printf(" %s", rows[i].name);
}

void params_print_table(void)
{
    for (int i = 0; i < PARAM_COUNT; i++)
        printf("param %s %s %lld %lld \"%s\" %s\n", rows[i].name, rows[i].type_name,
               (long long)rows[i].min, (long long)rows[i].max, rows[i].deflt, rows[i].sentence);
}
