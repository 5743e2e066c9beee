/* codec_json.c - tensors from JSON: nested lists and objects. Two passes over the text, the first
 * for the shape and the second for the numbers, and no tree. */
#include "server/codec.h"
#include "server/codec_region.h"
#include "server/number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NESTING (LIMIT_NDIM + 1)

/* ---- the shape of a nested list ---- */

struct nest {
    const char *prefix;          /* JSON Pointer to the list */
    uint64_t count[NESTING + 1]; /* elements so far of the open list at each depth */
    uint64_t dim[NESTING + 1];
    bool known[NESTING + 1]; /* has a list of this depth been closed? */
    uint32_t depth, deepest, leaf_depth;
    bool has_leaf;
    uint64_t leaves;
};

/* Points at the element at hand: /inputs/0/1/2. */
static int point(const struct nest *n, struct err *e)
{
    char text[192];
    int at = snprintf(text, sizeof text, "%s", n->prefix);

    for (uint32_t d = 1; d <= n->depth && at < (int)sizeof text; d++)
        at += snprintf(text + at, sizeof text - (size_t)at, "/%llu",
                       (unsigned long long)n->count[d]);
    return err_pointer(e, "%s", text);
}

static int ragged(const struct nest *n, const char *what, struct err *e)
{
    err_set(e, ERR_ragged, "the nested list is ragged: %s", what);
    return point(n, e);
}

static int open_list(struct nest *n, struct err *e)
{
    if (n->depth == LIMIT_NDIM) {
        err_set(e, ERR_shape_invalid, "the list is nested more than %d deep", LIMIT_NDIM);
        return point(n, e);
    }
    if (n->has_leaf && n->depth + 1 > n->leaf_depth)
        return ragged(n, "a list stands where the others have numbers", e);
    n->depth++;
    n->count[n->depth] = 0;
    if (n->depth > n->deepest)
        n->deepest = n->depth;
    return 0;
}

static int close_list(struct nest *n, struct err *e)
{
    uint32_t d = n->depth--;

    if (n->known[d] && n->dim[d] != n->count[d]) {
        char what[96];

        snprintf(what, sizeof what, "this list has %llu elements, one before it %llu",
                 (unsigned long long)n->count[d], (unsigned long long)n->dim[d]);
        return ragged(n, what, e);
    }
    n->known[d] = true;
    n->dim[d] = n->count[d];
    if (n->depth > 0)
        n->count[n->depth]++;
    return 0;
}

static int leaf(struct nest *n, char first, struct err *e)
{
    if (first == '{')
        return ragged(n, "an object stands where a number is expected", e);
    if (n->deepest > n->depth)
        return ragged(n, "a number stands where the others have lists", e);
    n->has_leaf = true;
    n->leaf_depth = n->depth;
    n->leaves++;
    if (n->depth > 0)
        n->count[n->depth]++;
    return 0;
}

static int find_shape(const struct json_span *span, struct nest *n, struct shape *shape,
                      struct err *e)
{
    const char *p = span->at, *end = span->at + span->len;

    while (p < end) {
        int rc = 0;

        if (*p == '[') {
            rc = open_list(n, e);
            p++;
        } else if (*p == ']') {
            rc = close_list(n, e);
            p++;
        } else if (*p == ',' || (unsigned char)*p <= ' ') {
            p++;
        } else {
            rc = leaf(n, *p, e);
            p = rc == 0 ? json_end_of_leaf(p, end) : p;
        }
        if (rc != 0)
            return -1;
    }
    shape->ndim = n->deepest;
    for (uint32_t d = 0; d < shape->ndim; d++)
        shape->dim[d] = n->dim[d + 1];
    return 0;
}

/* ---- the elements ---- */

/* Points at element i of a nest of this shape. */
static int point_at(const char *prefix, const struct shape *s, uint64_t i, struct err *e)
{
    char text[192];
    uint64_t index[LIMIT_NDIM] = {0};
    int at = snprintf(text, sizeof text, "%s", prefix);

    for (uint32_t d = s->ndim; d-- > 0; i /= s->dim[d])
        index[d] = i % s->dim[d];
    for (uint32_t d = 0; d < s->ndim && at < (int)sizeof text; d++)
        at += snprintf(text + at, sizeof text - (size_t)at, "/%llu", (unsigned long long)index[d]);
    return err_pointer(e, "%s", text);
}

static int read_string(const char *p, size_t len, enum dtype d, uint8_t *out, struct err *e)
{
    struct json_span s = {.base = p, .at = p, .len = len};
    char text[64];
    long n = json_string(&s, text, sizeof text);

    if (n < 0)
        return err_set(e, ERR_value_invalid, "a string of %zu bytes is no %s", len, dtypes[d].name);
    return number_read_string(text, (size_t)n, d, out, e);
}

static int read_element(const char *p, size_t len, enum dtype d, uint8_t *out, struct err *e)
{
    if (*p == '"')
        return read_string(p, len, d, out, e);
    if (*p != 't' && *p != 'f' && *p != 'n')
        return number_read(p, len, d, out, e);
    if (*p == 'n')
        return err_set(e, ERR_value_invalid, "null is no element of a tensor");
    if (dtypes[d].kind != CLASS_BOOL)
        return err_set(e, ERR_value_invalid,
                       "%.*s is no %s; say \"dtype\": \"bool\", or write 0 or 1", (int)len, p,
                       dtypes[d].name);
    *out = *p == 't';
    return 0;
}

static int read_elements(const struct json_span *span, const struct shape *nest, enum dtype d,
                         const char *prefix, uint8_t *out, struct err *e)
{
    const char *p = span->at, *end = span->at + span->len;
    uint32_t size = dtypes[d].size_bytes;

    for (uint64_t i = 0; p < end;) {
        const char *from = p;

        if (*p == '[' || *p == ']' || *p == ',' || (unsigned char)*p <= ' ') {
            p++;
            continue;
        }
        p = json_end_of_leaf(p, end);
        if (read_element(from, (size_t)(p - from), d, out + i * size, e) != 0)
            return point_at(prefix, nest, i, e);
        i++;
    }
    return 0;
}

/* shape: what the text says beside the data, or NULL. */
static int read_data(const struct json_span *span, enum dtype d, const char *pointer,
                     const struct shape *shape, const struct json_jobs *jobs, struct tensor **out,
                     struct err *e)
{
    struct nest n = {.prefix = pointer};
    struct shape nest = {0};
    struct extent *extent = NULL;
    uint64_t bytes;
    int rc = -1;

    if (find_shape(span, &n, &nest, e) != 0)
        return -1;
    if (!shape)
        shape = &nest;
    if (shape_measure(shape, d, NULL, &bytes, e) != 0)
        return err_pointer(e, "%s", pointer);
    if (shape_count(shape) != n.leaves || (nest.ndim > 1 && !shape_equal(shape, &nest))) {
        char want[SHAPE_TEXT], got[SHAPE_TEXT];

        err_set(e, ERR_size_mismatch, "the shape %s has %llu elements, the data %s has %llu",
                shape_format(shape, want, sizeof want), (unsigned long long)shape_count(shape),
                shape_format(&nest, got, sizeof got), (unsigned long long)n.leaves);
        return err_pointer(e, "%s", pointer);
    }
    if (codec_alloc(jobs ? jobs->who->account : NULL, bytes, &extent, e) != 0)
        return -1;
    if (read_elements(span, &nest, d, pointer, extent_bytes(extent), e) != 0)
        goto out;
    *out = tensor_new(d, shape, extent, 0);
    rc = *out ? 0 : err_set(e, ERR_no_memory, "a tensor");
out:
    extent_unref(extent);
    return rc;
}

/* ---- objects ---- */

/* Others' tensors are not there. */
static struct tensor *find_own(const struct id *id, const struct json_jobs *jobs)
{
    struct tensor *t = tensor_find(id);

    if (!t || !jobs || visitor_sees(jobs->who, t->owner))
        return t;
    tensor_unref(t);
    return NULL;
}

static int read_named(const struct json_span *value, const char *pointer,
                      const struct json_jobs *jobs, struct tensor **out, struct err *e)
{
    char text[65];
    struct id id;
    long len = json_kind(value) == JSON_STRING ? json_string(value, text, sizeof text) : -1;

    if (len < 0)
        snprintf(text, sizeof text, "%.*s", json_shown(value, 64), value->at);
    if (len < 0 || id_parse('t', text, (size_t)len, &id) != 0 || !(*out = find_own(&id, jobs))) {
        err_set(e, ERR_input_unknown, "there is no tensor %s", text);
        return err_pointer(e, "%s", pointer);
    }
    if (tensor_lost(*out)) {
        tensor_unref(*out);
        *out = NULL;
        err_set(e, ERR_tensor_lost,
                "the bytes of tensor %s did not survive a restart, or the end of a device's worker",
                text);
        return err_pointer(e, "%s", pointer);
    }
    return 0;
}

static int read_dtype(const struct json_span *value, const char *pointer, enum dtype *out,
                      struct err *e)
{
    char text[65] = "";

    if (json_kind(value) == JSON_STRING && json_string(value, text, sizeof text) >= 0 &&
        dtype_find(text, strlen(text), out) == 0)
        return 0;
    err_set(e, ERR_dtype_unsupported, "%.*s is no dtype; there are: %s", json_shown(value, 64),
            value->at, dtype_names());
    return err_pointer(e, "%s/dtype", pointer);
}

int json_shape_read(const struct json_span *value, const char *pointer, struct shape *out,
                    struct err *e)
{
    struct json_span dim;
    size_t pos = 0;

    out->ndim = 0;
    if (json_kind(value) != JSON_ARRAY) {
        err_set(e, ERR_shape_invalid, "a shape is a list of integers, as [2, 3]");
        return err_pointer(e, "%s", pointer);
    }
    while (json_next(value, &pos, &dim)) {
        if (out->ndim == LIMIT_NDIM || json_kind(&dim) != JSON_NUMBER ||
            number_read(dim.at, dim.len, DTYPE_uint64, &out->dim[out->ndim], e) != 0) {
            err_set(e, ERR_shape_invalid,
                    "a shape is a list of at most %d integers from 0 on, not %.*s", LIMIT_NDIM,
                    json_shown(&dim, 40), dim.at);
            return err_pointer(e, "%s/%u", pointer, out->ndim);
        }
        out->ndim++;
    }
    return 0;
}

/* Points at a member; ~ and / have a meaning in a JSON Pointer (RFC 6901). */
static int point_member(const char *pointer, const char *name, struct err *e)
{
    char text[2 * sizeof(((struct json_member *)0)->name)];
    size_t at = 0;

    for (; *name; name++) {
        bool escape = *name == '~' || *name == '/';

        if (escape)
            text[at++] = '~';
        text[at++] = *name == '~' ? '0' : *name == '/' ? '1' : *name;
    }
    text[at] = '\0';
    return err_pointer(e, "%s/%s", pointer, text);
}

struct object {
    const struct json_span *dtype, *shape, *data, *tensor, *job, *rank, *region, *offset;
};

static int read_rank(const struct json_span *value, const char *pointer, uint32_t *out,
                     struct err *e)
{
    if (json_kind(value) == JSON_NUMBER &&
        number_read(value->at, value->len, DTYPE_uint32, (uint8_t *)out, e) == 0)
        return 0;
    err_set(e, ERR_input_unknown, "rank is a group rank of the job, from 0 on, not %.*s",
            json_shown(value, 40), value->at);
    return err_pointer(e, "%s/rank", pointer);
}

static int read_output(const struct object *o, const char *pointer, struct json_jobs *jobs,
                       struct tensor **out, struct err *e)
{
    struct json_output what = {0};
    char text[65];
    long len = json_kind(o->job) == JSON_STRING ? json_string(o->job, text, sizeof text) : -1;

    if (!jobs || !jobs->find) {
        err_set(e, ERR_inputs_invalid, "the output of a job cannot be named here");
        return err_pointer(e, "%s/job", pointer);
    }
    what.rank = jobs->rank;
    if (o->rank && read_rank(o->rank, pointer, &what.rank, e) != 0)
        return -1;
    what.by_line = json_kind(o->job) == JSON_NUMBER;
    if (what.by_line ? number_read(o->job->at, o->job->len, DTYPE_int64, (uint8_t *)&what.line, e)
                     : len < 0 || id_parse('j', text, (size_t)len, &what.job) != 0) {
        err_set(e, ERR_input_unknown, "there is no job %.*s", json_shown(o->job, 64), o->job->at);
        return err_pointer(e, "%s/job", pointer);
    }
    return jobs->find(jobs, &what, out, e) != 0 ? err_pointer(e, "%s", pointer) : 0;
}

static int sort_members(const struct json_member *m, uint32_t n, const char *pointer,
                        struct object *o, struct err *e)
{
    const struct {
        const char *name;
        const struct json_span **to;
    } rows[] = {
        {"dtype", &o->dtype}, {"shape", &o->shape}, {"data", &o->data},     {"tensor", &o->tensor},
        {"job", &o->job},     {"rank", &o->rank},   {"region", &o->region}, {"offset", &o->offset},
    };

    for (uint32_t i = 0; i < n; i++) {
        size_t k = 0;

        while (k < sizeof rows / sizeof rows[0] && strcmp(m[i].name, rows[k].name) != 0)
            k++;
        if (k == sizeof rows / sizeof rows[0]) {
            err_set(e, ERR_unknown_parameter,
                    "a tensor has dtype, shape and data, or tensor, or job and rank, or region, "
                    "offset, dtype and shape; not \"%s\"",
                    m[i].name);
            return point_member(pointer, m[i].name, e);
        }
        *rows[k].to = &m[i].value;
    }
    return 0;
}

/* Is it one of the forms that there are? */
static bool is_whole(const struct object *o, uint32_t n)
{
    if (o->tensor)
        return n == 1;
    if (o->job)
        return n == 1u + (o->rank != NULL);
    if (o->region)
        return o->shape && !o->data && !o->rank;
    return o->data && !o->rank && !o->offset;
}

static int read_object(const struct json_span *span, enum dtype dtype, const char *pointer,
                       struct json_jobs *jobs, struct tensor **out, bool *named, struct err *e)
{
    struct json_member members[8];
    struct object o = {0};
    struct shape shape;
    char at[128];
    uint32_t n;

    if (json_members(span, members, 8, &n, e) != 0)
        return err_pointer(e, "%s", pointer);
    if (sort_members(members, n, pointer, &o, e) != 0)
        return -1;
    if (!is_whole(&o, n)) {
        err_set(e, ERR_inputs_invalid,
                "a tensor object is {\"tensor\": \"t_...\"} alone, {\"job\": \"j_...\", \"rank\": "
                "0}, {\"region\": \"r_...\", \"offset\": 0, \"dtype\": ..., \"shape\": ...}, or "
                "{\"data\": ...} with dtype and shape if you like");
        return err_pointer(e, "%s", pointer);
    }
    *named = o.tensor != NULL;
    if (o.tensor)
        return read_named(o.tensor, pointer, jobs, out, e);
    if (o.job)
        return read_output(&o, pointer, jobs, out, e);
    if (o.dtype && read_dtype(o.dtype, pointer, &dtype, e) != 0)
        return -1;
    snprintf(at, sizeof at, "%s/shape", pointer);
    if (o.shape && json_shape_read(o.shape, at, &shape, e) != 0)
        return -1;
    if (o.region)
        return region_tensor_read(o.region, o.offset, dtype, &shape, pointer,
                                  jobs ? jobs->who : NULL, out, e);
    snprintf(at, sizeof at, "%s/data", pointer);
    return read_data(o.data, dtype, at, o.shape ? &shape : NULL, jobs, out, e);
}

int json_tensor_read(const struct json_span *span, enum dtype dtype, const char *pointer,
                     struct json_jobs *jobs, struct tensor **out, bool *named, struct err *e)
{
    *named = false;
    *out = NULL;
    switch (json_kind(span)) {
    case JSON_NULL:
        return 0;
    case JSON_OBJECT:
        return read_object(span, dtype, pointer, jobs, out, named, e);
    default:
        return read_data(span, dtype, pointer, NULL, jobs, out, e);
    }
}
