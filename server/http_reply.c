/* http_reply.c - a reply becomes a response: text and tensors are sent from where they lie. */
#include "server/auth.h"
#include "server/http_internal.h"
#include "server/metrics.h"
#include "server/problem.h"
#include "server/routes.h"
#include "schema/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int reply_text(struct request *rq, int status, const char *content_type)
{
    rq->reply.status = status;
    snprintf(rq->reply.content_type, sizeof rq->reply.content_type, "%s", content_type);
    return HANDLED;
}

/* A terminal's prompt stands on a line of its own, and files of answers can be joined. */
int reply_document(struct request *rq, int status, const char *content_type)
{
    text_raw(&rq->reply.text, "\n", 1);
    return reply_text(rq, status, content_type);
}

int reply_json(struct request *rq, int status)
{
    return reply_document(rq, status, "application/json");
}

int reply_parts(struct request *rq, int status, const char *content_type)
{
    return reply_text(rq, status, content_type);
}

int reply_empty(struct request *rq, int status)
{
    rq->reply.status = status;
    return HANDLED;
}

int reply_stream(struct request *rq, int status, const char *content_type,
                 long (*bytes)(struct request *rq, char *buf, size_t max))
{
    rq->reply.stream = bytes;
    return reply_text(rq, status, content_type);
}

void reply_header(struct request *rq, const char *name, const char *fmt, ...)
{
    struct reply *r = &rq->reply;
    va_list args;

    if (r->n_headers == sizeof r->headers / sizeof r->headers[0])
        return;
    snprintf(r->headers[r->n_headers].name, sizeof r->headers[0].name, "%s", name);
    va_start(args, fmt);
    vsnprintf(r->headers[r->n_headers].value, sizeof r->headers[0].value, fmt, args);
    va_end(args);
    r->n_headers++;
}

static void free_parts(void *cls)
{
    parts_fini(cls);
    free(cls);
}

/* Many pieces, none copied: the parts live until the last byte is sent. */
static struct MHD_Response *from_parts(struct reply *r)
{
    struct parts *kept = malloc(sizeof *kept);
    struct MHD_IoVec *pieces = calloc(r->parts.n + 1, sizeof *pieces);
    struct MHD_Response *response = NULL;

    if (kept && pieces) {
        *kept = r->parts;
        for (uint32_t i = 0; i < kept->n; i++)
            pieces[i] = (struct MHD_IoVec){.iov_base = kept->part[i].bytes,
                                           .iov_len = kept->part[i].len};
        response = MHD_create_response_from_iovec(pieces, kept->n, free_parts, kept);
    }
    if (response)
        r->parts = (struct parts){0};
    else
        free(kept);
    free(pieces);
    return response;
}

static struct MHD_Response *from_text(struct reply *r)
{
    char *data = r->text.data;
    struct MHD_Response *response = MHD_create_response_from_buffer(r->text.len, data,
                                                                    MHD_RESPMEM_MUST_FREE);

    if (response)
        text_init(&r->text);
    return response;
}

static long next_bytes(struct http_connection *c, char *buf, size_t max)
{
    struct err e;
    long n;

    /* Not an error: libmicrohttpd 0.9.75 ends the request then, and leaves the socket open until
     * something else happens to its thread. What is sent to a client that is gone ends it, too. */
    if (c->gone || auth_still(&c->rq.visitor, &e) != 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    n = c->rq.reply.stream(&c->rq, buf, max);
    c->phase = PHASE_ANSWERED; /* also when it was suspended */
    return n < 0 ? MHD_CONTENT_READER_END_OF_STREAM : n;
}

static ssize_t on_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
    long n = MHD_CONTENT_READER_END_OF_STREAM;

    (void)pos;
    if (!http_enter())
        return n;
    n = next_bytes(cls, buf, max);
    http_leave();
    return n;
}

#define STREAM_BYTES 8192

static struct MHD_Response *make(struct http_connection *c)
{
    struct reply *r = &c->rq.reply;

    if (r->stream)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, on_stream, c,
                                                 NULL);
    if (r->parts.n > 0)
        return from_parts(r);
    if (r->text.len > 0)
        return from_text(r);
    return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
}

static bool says(const struct reply *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_headers; i++)
        if (strcmp(r->headers[i].name, name) == 0)
            return true;
    return false;
}

/* libmicrohttpd takes no header without a value. */
static bool add(struct MHD_Response *response, const char *name, const char *value)
{
    return !value[0] || MHD_add_response_header(response, name, value) == MHD_YES;
}

/* No other site's page may read, embed or guess the type of an answer. What is HTML loads nothing
 * from elsewhere, stands in no frame, and tells no other site its address, in which a token may
 * stand. */
static bool add_security(struct MHD_Response *response, const struct reply *r)
{
    bool all = add(response, "X-Content-Type-Options", "nosniff") &&
               add(response, "Cross-Origin-Resource-Policy", "same-origin");

    if (strncmp(r->content_type, "text/html", 9) != 0)
        return all;
    if (!says(r, "Content-Security-Policy"))
        all &= add(response, "Content-Security-Policy", PAGE_POLICY);
    return all && add(response, "X-Frame-Options", "DENY") &&
           add(response, "Referrer-Policy", "no-referrer");
}

/* Returns false when there is no memory for all of them. */
static bool add_headers(struct MHD_Response *response, const struct reply *r)
{
    bool all = add(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->content_type) &&
               add_security(response, r);

    for (uint32_t i = 0; i < r->n_headers; i++)
        all &= add(response, r->headers[i].name, r->headers[i].value);
    if (r->outputs.len > 0)
        all &= add(response, "Tutti-Outputs", r->outputs.data);
    if (!says(r, "Cache-Control"))
        all &= add(response, "Cache-Control", "no-store");
    if (r->close || atomic_load(&http_quiescing))
        all &= add(response, MHD_HTTP_HEADER_CONNECTION, "close");
    return all;
}

enum MHD_Result reply_queue(struct http_connection *c)
{
    struct reply *r = &c->rq.reply;
    struct MHD_Response *response = r->text.failed ? NULL : make(c);
    enum MHD_Result rc;

    c->phase = PHASE_ANSWERED;
    if (!response)
        return MHD_NO; /* out of memory: the connection closes */
    metrics_request(route_number(c->rq.route), c->rq.method == METHOD_HEAD, r->status,
                    clock_us() - c->rq.received_at_us);
    rc = add_headers(response, r) ? MHD_queue_response(c->mhd, (unsigned)r->status, response)
                                  : MHD_NO;
    MHD_destroy_response(response);
    return rc;
}

/* What a handler said of the answer it could not give after all is not true of the problem: it must
 * not be cached, above all. */
static void keep_problem_headers(struct reply *r)
{
    static const char *const kept[] = {"Allow", "Content-Range", "Tutti-Job", "WWW-Authenticate"};
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_headers; i++) {
        for (size_t k = 0; k < sizeof kept / sizeof kept[0]; k++) {
            if (strcmp(r->headers[i].name, kept[k]) == 0)
                r->headers[n++] = r->headers[i];
        }
    }
    r->n_headers = n;
}

enum MHD_Result reply_problem(struct http_connection *c, const struct err *e, bool close)
{
    struct reply *r = &c->rq.reply;
    int after = problem_retry_after(e);

    metrics_refused(e->code);
    r->stream = NULL;
    text_fini(&r->text);
    text_fini(&r->outputs);
    parts_fini(&r->parts);
    keep_problem_headers(r);
    problem_write(&r->text, e, NULL);
    reply_document(&c->rq, err_status(e->code), PROBLEM_MEDIA);
    if (after > 0)
        reply_header(&c->rq, "Retry-After", "%d", after);
    r->close |= close;
    return reply_queue(c);
}
