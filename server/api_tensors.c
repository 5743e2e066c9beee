/* api_tensors.c - upload, look at, download and delete tensors. */
#include "schema/clock.h"
#include "server/api_submit.h"
#include "server/negotiate.h"
#include "server/steady.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINARY (1u << FORMAT_npy | 1u << FORMAT_safetensors | 1u << FORMAT_raw)

/* ---- upload ---- */

static int from_payload(struct payload *p, struct tensor **out, struct err *e)
{
    if (p->whole) {
        *out = tensor_ref(p->whole);
        return 0;
    }
    if (p->n != 1)
        return err_set(e, ERR_inputs_invalid, "an upload holds one tensor; this file has %u", p->n);
    *out = tensor_ref(p->items[0].tensor);
    return 0;
}

/* A bare list or number, or an object whose dtype may also stand in the query. */
static int from_json(struct request *rq, struct tensor **out, struct err *e)
{
    struct json_jobs none = {.who = &rq->visitor};
    bool named;

    if (json_tensor_read(&rq->body.json,
                         params_has(rq->params, PARAM_dtype) ? rq->params->dtype : DTYPE_float32,
                         "", &none, out, &named, e) != 0)
        return -1;
    if (*out && !named)
        return lane_settle(rq, NULL, NULL, out, e);
    tensor_unref(*out);
    return err_set(e, ERR_inputs_invalid,
                   "an upload is a tensor: a nested list, or an object with data");
}

static void publish(struct store_wait *w)
{
    if (tensor_publish(w->tensor) != 0)
        w->rc = err_set(&w->err, ERR_no_memory, "the table of tensors");
}

static void forget(struct store_wait *w)
{
    tensor_unref(w->tensor);
}

static int created(struct request *rq, struct err *e)
{
    struct store_wait *w = rq->state;
    char id[ID_TEXT];

    if (w->rc != 0) {
        *e = w->err;
        return -1;
    }
    tensor_doc_write(&rq->reply.text, w->tensor, false, NULL);
    reply_header(rq, "Location", "tensors/%s", id_format('t', &w->tensor->id, id));
    return reply_json(rq, 201);
}

int api_tensor_create(struct request *rq, struct err *e)
{
    struct store_wait *w = store_wait_new(rq, e);

    if (!w)
        return -1;
    w->free = forget;
    if ((rq->body.codec ? from_payload(&rq->body.payload, &w->tensor, e)
                        : from_json(rq, &w->tensor, e)) != 0)
        return -1;
    if (submit_check_stated(rq->params, w->tensor, true, e) != 0)
        return -1;
    body_fini(&rq->body);
    w->tensor->owner = rq->visitor.account;
    w->tensor->created_us = clock_wall_us();
    w->tensor->expires_us = steady_due_us(w->tensor->created_us, api_facts.retain_us);
    w->op.tensor_insert.tensor = w->tensor;
    store_tensor_insert_init(&w->op.tensor_insert);
    w->core = publish;
    store_wait_post(w, created);
    return SUSPENDED;
}

/* ---- read ---- */

static struct tensor *find(const struct request *rq, struct err *e)
{
    struct id id;
    struct tensor *t = NULL;

    if (id_parse('t', rq->args[0], strlen(rq->args[0]), &id) == 0)
        t = tensor_find(&id);
    if (t && !visitor_sees(&rq->visitor, t->owner)) {
        tensor_unref(t);
        t = NULL;
    }
    if (!t)
        err_set(e, ERR_tensor_unknown, "there is no tensor %.64s", rq->args[0]);
    return t;
}

static int send_json(struct request *rq, struct tensor *t, struct err *e)
{
    bool asked = params_int(rq->params, PARAM_meta, 0) == 0;
    char why[OMITTED_TEXT];
    const char *omitted = asked ? data_omitted(why, json_tensor_elements(&t->shape), false) : NULL;
    bool data = asked && !omitted;

    if (data && tensor_lost(t))
        return err_set(e, ERR_tensor_lost, TENSOR_LOST);
    tensor_doc_write(&rq->reply.text, t, data, omitted);
    return reply_json(rq, 200);
}

/* RFC 9110: one range of bytes; several, or another unit, mean the whole. Returns 1 when there is
 * one. */
static int read_range(const char *text, uint64_t size, uint64_t *from, uint64_t *to, struct err *e)
{
    char *end;

    if (!text || strncmp(text, "bytes=", 6) != 0 || strchr(text, ','))
        return 0;
    text += 6;
    if (*text == '-') {
        uint64_t last = strtoull(text + 1, &end, 10);

        if (end == text + 1 || *end)
            return 0;
        *from = last < size ? size - last : 0;
        *to = size;
        if (last > 0 && size > 0)
            return 1;
    } else {
        *from = strtoull(text, &end, 10);
        if (end == text || *end != '-')
            return 0;
        text = end + 1;
        *to = *text ? strtoull(text, &end, 10) : UINT64_MAX - 1;
        if (*text && *end)
            return 0;
        if (*from < size && *to >= *from) {
            *to = *to < size ? *to + 1 : size;
            return 1;
        }
    }
    return err_set(e, ERR_range_not_satisfiable, "the tensor has %" PRIu64 " bytes", size);
}

static int send_range(struct request *rq, struct tensor *t, struct err *e)
{
    uint64_t from, to;
    int rc = read_range(request_header(rq, "Range"), t->size_bytes, &from, &to, e);

    if (rc < 0) {
        reply_header(rq, "Content-Range", "bytes */%" PRIu64, t->size_bytes);
        return -1;
    }
    reply_header(rq, "Accept-Ranges", "bytes");
    if (rc == 0)
        return reply_parts(rq, 200, codec_raw.media);
    rq->reply.parts.part[0].bytes = (const uint8_t *)rq->reply.parts.part[0].bytes + from;
    rq->reply.parts.part[0].len = to - from;
    reply_header(rq, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, from, to - 1,
                 t->size_bytes);
    return reply_parts(rq, 206, codec_raw.media);
}

static int send_bytes(struct request *rq, struct tensor *t, enum format f, struct err *e)
{
    struct codec_out what = {.n = 1, .t = &t};

    if (tensor_lost(t))
        return err_set(e, ERR_tensor_lost, TENSOR_LOST);
    if (view_read(rq, &what.as_uint16, e) != 0 ||
        codec_of(f)->write(&what, &rq->reply.parts, e) != 0)
        return -1;
    bytes_headers(rq, viewed(t->dtype, what.as_uint16), &t->shape, 0);
    return f == FORMAT_raw ? send_range(rq, t, e) : reply_parts(rq, 200, codec_of(f)->media);
}

/* One tag a representation; each never changes. */
const char *etag_text(const struct tensor *t, enum format f, char tag[ETAG_TEXT])
{
    char id[ID_TEXT];

    snprintf(tag, ETAG_TEXT, "\"%s-%s\"", id_format('t', &t->id, id), codec_of(f)->name);
    return tag;
}

void etag_header(struct request *rq, const struct tensor *t, enum format f)
{
    char tag[ETAG_TEXT];

    reply_header(rq, "ETag", "%s", etag_text(t, f, tag));
    reply_header(rq, "Vary", "Accept");
    reply_header(rq, "Cache-Control", "private, max-age=31536000, immutable");
}

static int send(struct request *rq, struct tensor *t, struct err *e)
{
    const char *match = request_header(rq, "If-None-Match");
    char tag[ETAG_TEXT];
    enum format f;

    if (negotiate_out(request_header(rq, "Accept"), params_text(rq->params, PARAM_format),
                      1u << FORMAT_json | BINARY, FORMAT_json, &f, e) != 0)
        return -1;
    if (tensor_away(t) && params_int(rq->params, PARAM_meta, 0) == 0)
        return tensor_bring(rq, t, api_tensor_get, e);
    etag_header(rq, t, f);
    if (match && (strstr(match, etag_text(t, f, tag)) || strcmp(match, "*") == 0))
        return reply_empty(rq, 304);
    return f == FORMAT_json ? send_json(rq, t, e) : send_bytes(rq, t, f, e);
}

int api_tensor_get(struct request *rq, struct err *e)
{
    struct tensor *t = find(rq, e);
    int rc;

    if (!t)
        return -1;
    rc = send(rq, t, e);
    tensor_unref(t);
    return rc;
}

/* ---- delete ---- */

void tensor_forget(struct tensor *t, bool row_stays)
{
    if (row_stays && tensor_publish(t) != 0)
        return; /* its bytes are kept until the next start */
    tensor_unref(t);
}

static void forget_deleted(struct store_wait *w)
{
    if (w->tensor)
        tensor_forget(w->tensor, w->rc != 0);
}

static int deleted(struct request *rq, struct err *e)
{
    struct store_wait *w = rq->state;

    if (w->rc == 0)
        return reply_empty(rq, 204);
    *e = w->err;
    return -1;
}

int api_tensor_delete(struct request *rq, struct err *e)
{
    struct tensor *t = find(rq, e);
    struct store_wait *w;

    if (!t)
        return -1;
    w = store_wait_new(rq, e);
    if (!w) {
        tensor_unref(t);
        return -1;
    }
    w->free = forget_deleted;
    w->tensor = tensor_remove(&t->id); /* somebody else may have been faster */
    tensor_unref(t);
    if (!w->tensor)
        return err_set(e, ERR_tensor_unknown, "there is no tensor %.64s", rq->args[0]);
    w->op.tensor_delete.tensors = &w->tensor;
    w->op.tensor_delete.n = 1;
    store_tensor_delete_init(&w->op.tensor_delete);
    store_wait_post(w, deleted);
    return SUSPENDED;
}
