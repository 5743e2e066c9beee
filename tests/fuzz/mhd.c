/* mhd.c - the functions of libmicrohttpd that http.c calls, and one client of it. */
#include "tests/fuzz/mhd.h"

#include "server/http_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX 64
#define ANSWER_HEADERS_MAX 24
#define PIECES 4        /* a body comes in so many, or less */
#define STREAM_READS 8  /* of an answer without an end */
#define CALLS_MAX 10000 /* of a handler, for one request */

struct MHD_Response {
    uint64_t size;
    void *heap; /* of a buffer to be freed */
    const void *buffer;
    struct MHD_IoVec *pieces;
    unsigned n_pieces;
    MHD_ContentReaderCallback read;
    MHD_ContentReaderFreeCallback free;
    void *cls;
    unsigned n_headers;
    char *headers[ANSWER_HEADERS_MAX][2];
    int refs;
};

struct MHD_Connection {
    char *headers[HEADERS_MAX][2];
    unsigned n_headers;
    void *socket;
    bool suspended;
    unsigned status;
    struct MHD_Response *response;
};

static struct {
    MHD_AccessHandlerCallback on_request;
    MHD_NotifyConnectionCallback on_socket;
    void *door;
    MHD_RequestCompletedCallback on_completed;
    void *(*on_target)(void *cls, const char *target, struct MHD_Connection *con);
} daemon_calls;

/* ---- the library ---- */

struct MHD_Daemon *MHD_start_daemon(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback apc,
                                    void *apc_cls, MHD_AccessHandlerCallback dh, void *dh_cls, ...)
{
    va_list args;
    int option;

    (void)flags;
    (void)port;
    (void)apc;
    (void)apc_cls;
    daemon_calls.on_request = dh;
    va_start(args, dh_cls);
    while ((option = va_arg(args, int)) != MHD_OPTION_END) {
        switch (option) {
        case MHD_OPTION_NOTIFY_CONNECTION:
            daemon_calls.on_socket = va_arg(args, MHD_NotifyConnectionCallback);
            daemon_calls.door = va_arg(args, void *);
            break;
        case MHD_OPTION_NOTIFY_COMPLETED:
            daemon_calls.on_completed = va_arg(args, MHD_RequestCompletedCallback);
            (void)va_arg(args, void *);
            break;
        case MHD_OPTION_URI_LOG_CALLBACK:
            daemon_calls.on_target = va_arg(args, typeof(daemon_calls.on_target));
            (void)va_arg(args, void *);
            break;
        case MHD_OPTION_EXTERNAL_LOGGER:
            (void)va_arg(args, void *);
            (void)va_arg(args, void *);
            break;
        case MHD_OPTION_THREAD_STACK_SIZE:
        case MHD_OPTION_CONNECTION_MEMORY_LIMIT:
            (void)va_arg(args, size_t);
            break;
        case MHD_OPTION_SOCK_ADDR:
            (void)va_arg(args, void *);
            break;
        default:
            (void)va_arg(args, unsigned);
        }
    }
    va_end(args);
    return (struct MHD_Daemon *)&daemon_calls;
}

const union MHD_DaemonInfo *MHD_get_daemon_info(struct MHD_Daemon *d, enum MHD_DaemonInfoType t,
                                                ...)
{
    (void)d;
    (void)t;
    return NULL;
}

MHD_socket MHD_quiesce_daemon(struct MHD_Daemon *d)
{
    (void)d;
    return MHD_INVALID_SOCKET;
}

void MHD_stop_daemon(struct MHD_Daemon *d)
{
    (void)d;
}

const union MHD_ConnectionInfo *MHD_get_connection_info(struct MHD_Connection *c,
                                                        enum MHD_ConnectionInfoType type, ...)
{
    static union MHD_ConnectionInfo info;

    if (type == MHD_CONNECTION_INFO_SOCKET_CONTEXT)
        info.socket_context = c->socket;
    else
        info.connect_fd = 0;
    return &info;
}

int MHD_get_connection_values_n(struct MHD_Connection *c, enum MHD_ValueKind kind,
                                MHD_KeyValueIteratorN see, void *cls)
{
    for (unsigned i = 0; i < c->n_headers; i++)
        see(cls, kind, c->headers[i][0], strlen(c->headers[i][0]), c->headers[i][1],
            strlen(c->headers[i][1]));
    return (int)c->n_headers;
}

const char *MHD_lookup_connection_value(struct MHD_Connection *c, enum MHD_ValueKind kind,
                                        const char *name)
{
    (void)kind;
    for (unsigned i = 0; i < c->n_headers; i++)
        if (strcasecmp(c->headers[i][0], name) == 0)
            return c->headers[i][1];
    return NULL;
}

void MHD_suspend_connection(struct MHD_Connection *c)
{
    FUZZ_CHECK(!c->suspended, "suspended twice");
    c->suspended = true;
}

void MHD_resume_connection(struct MHD_Connection *c)
{
    FUZZ_CHECK(c->suspended, "resumed, and not suspended");
    c->suspended = false;
}

static struct MHD_Response *response(uint64_t size)
{
    struct MHD_Response *r = calloc(1, sizeof *r);

    FUZZ_CHECK(r, "no memory for a response");
    r->size = size;
    r->refs = 1;
    return r;
}

struct MHD_Response *MHD_create_response_from_buffer(size_t size, void *buffer,
                                                     enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *r = response(size);

    r->buffer = buffer;
    r->heap = mode == MHD_RESPMEM_MUST_FREE ? buffer : NULL;
    return r;
}

struct MHD_Response *MHD_create_response_from_iovec(const struct MHD_IoVec *pieces, unsigned n,
                                                    MHD_ContentReaderFreeCallback free_cb,
                                                    void *cls)
{
    struct MHD_Response *r = response(0);

    r->pieces = fuzz_copy(pieces, n * sizeof *pieces);
    r->n_pieces = n;
    r->free = free_cb;
    r->cls = cls;
    return r;
}

struct MHD_Response *MHD_create_response_from_callback(uint64_t size, size_t block,
                                                       MHD_ContentReaderCallback read, void *cls,
                                                       MHD_ContentReaderFreeCallback free_cb)
{
    struct MHD_Response *r = response(size);

    (void)block;
    r->read = read;
    r->cls = cls;
    r->free = free_cb;
    return r;
}

enum MHD_Result MHD_add_response_header(struct MHD_Response *r, const char *name, const char *value)
{
    FUZZ_CHECK(name[strcspn(name, "\t\r\n ")] == 0 && value[strcspn(value, "\r\n")] == 0 &&
                   value[0],
               "a header %s: %s, which the library would not take", name, value);
    FUZZ_CHECK(r->n_headers < ANSWER_HEADERS_MAX, "too many headers");
    r->headers[r->n_headers][0] = strdup(name);
    r->headers[r->n_headers++][1] = strdup(value);
    return MHD_YES;
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *c, unsigned status,
                                   struct MHD_Response *r)
{
    FUZZ_CHECK(!c->response && !c->suspended, "answered twice, or while suspended");
    FUZZ_CHECK(status >= 200 && status <= 599, "status %u", status);
    c->status = status;
    c->response = r;
    r->refs++;
    return MHD_YES;
}

void MHD_destroy_response(struct MHD_Response *r)
{
    if (--r->refs > 0)
        return;
    if (r->free)
        r->free(r->cls);
    for (unsigned i = 0; i < r->n_headers; i++) {
        free(r->headers[i][0]);
        free(r->headers[i][1]);
    }
    free(r->pieces);
    free(r->heap);
    free(r);
}

/* ---- the watch: a client hangs up when the harness says so ---- */

int __wrap_watch_start(struct err *e);
void __wrap_watch_stop(void);
void __wrap_watch_socket_opened(struct http_socket *s);
void __wrap_watch_socket_closed(struct http_socket *s);
void __wrap_watch_body(struct http_socket *s, bool begins, uint64_t bytes);
void __wrap_watch_answered(struct http_socket *s, struct http_connection *c);
void __wrap_watch_arm(struct http_connection *c, void (*gone)(struct request *rq));
bool __wrap_watch_disarm(struct http_connection *c);

int __wrap_watch_start(struct err *e)
{
    (void)e;
    return 0;
}

void __wrap_watch_stop(void)
{
}

void __wrap_watch_socket_opened(struct http_socket *s)
{
    (void)s;
}

void __wrap_watch_socket_closed(struct http_socket *s)
{
    (void)s;
}

void __wrap_watch_body(struct http_socket *s, bool begins, uint64_t bytes)
{
    (void)s;
    (void)begins;
    (void)bytes;
}

void __wrap_watch_answered(struct http_socket *s, struct http_connection *c)
{
    s->request = c;
}

void __wrap_watch_arm(struct http_connection *c, void (*gone)(struct request *rq))
{
    c->on_gone = gone;
    c->gone = false;
}

bool __wrap_watch_disarm(struct http_connection *c)
{
    c->on_gone = NULL;
    return c->gone;
}

/* ---- one client ---- */

void mhd_start(void)
{
    struct http_options o = {.host = "127.0.0.1", .threads = 1};
    uint16_t port;
    struct err e;

    FUZZ_CHECK(daemon_calls.on_request ||
                   (http_bind(&o, &e) == 0 && http_start(&o, &port, &e) == 0),
               "%s", e.detail);
}

static char *line_of(struct fuzz_in *in)
{
    char *line = fuzz_line(in, '\n');
    size_t len = strlen(line);

    if (len > 0 && line[len - 1] == '\r')
        line[len - 1] = '\0';
    return line;
}

/* The library hands on what stands around the colon, but for space before the value. */
static void read_headers(struct MHD_Connection *c, struct fuzz_in *in)
{
    for (;;) {
        char *line = line_of(in), *value = line + strcspn(line, ":");

        if (!*line || c->n_headers == HEADERS_MAX) {
            free(line);
            return;
        }
        if (*value)
            *value++ = '\0';
        value += strspn(value, " \t");
        c->headers[c->n_headers][0] = line;
        c->headers[c->n_headers++][1] = value;
    }
}

/* Suspended: the core may have the answer; else the client hangs up, and must be let go. Returns
 * false when he has. */
static bool wait_for(struct MHD_Connection *c, struct http_connection *h, void (*turn)(void))
{
    turn();
    if (!c->suspended)
        return true;
    FUZZ_CHECK(h->on_gone, "a wait that nothing ends");
    h->gone = true;
    h->on_gone(&h->rq);
    turn();
    FUZZ_CHECK(!c->suspended, "a client has gone, and its request waits on");
    return false;
}

static enum MHD_Result call(struct MHD_Connection *c, const char *const first[3], const char *bytes,
                            size_t *len, void **context)
{
    return daemon_calls.on_request(NULL, c, first[1], first[0], first[2], bytes, len, context);
}

/* Its body, and then until there is an answer. A body that is shorter than its length never ends.
 */
static void talk(struct MHD_Connection *c, const char *const first[3], struct fuzz_in *in,
                 void **context, void (*turn)(void))
{
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    const char *coding = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding");
    size_t none = 0, body = coding ? in->len : length ? (size_t)strtoull(length, NULL, 10) : 0;
    bool whole = body <= in->len;

    if (call(c, first, NULL, &none, context) != MHD_YES || c->response)
        return;
    body = whole ? body : in->len;
    for (size_t at = 0, step = body / PIECES + 1; at < body; at += step) {
        size_t n = body - at < step ? body - at : step, left = n;
        char *copy = fuzz_copy(in->at + at, n);
        enum MHD_Result rc = call(c, first, copy, &left, context);

        free(copy);
        FUZZ_CHECK(rc != MHD_YES || left == 0, "%zu bytes of a body are not taken", left);
        if (rc != MHD_YES)
            return;
    }
    in->at += body;
    in->len -= body;
    for (int i = 0; whole && !c->response; i++) {
        FUZZ_CHECK(i < CALLS_MAX, "a request that is never answered");
        if (call(c, first, NULL, &none, context) != MHD_YES)
            return;
        if (c->suspended && !wait_for(c, *context, turn))
            return;
    }
}

/* What it says, as one piece; NULL for one that has no end. */
static char *content(struct MHD_Connection *c, struct http_connection *h, void (*turn)(void),
                     size_t *len)
{
    struct MHD_Response *r = c->response;
    struct text all;
    char buf[64];

    text_init(&all);
    for (unsigned i = 0; i < r->n_pieces; i++)
        text_raw(&all, r->pieces[i].iov_base, r->pieces[i].iov_len);
    if (r->size > 0 && r->buffer)
        text_raw(&all, r->buffer, r->size);
    for (int i = 0; r->read && i < STREAM_READS; i++) {
        ssize_t n = r->read(r->cls, 0, buf, sizeof buf);

        FUZZ_CHECK(n <= (ssize_t)sizeof buf, "%zd bytes in room for 64", n);
        if (n < 0 || (c->suspended && !wait_for(c, h, turn)))
            break;
    }
    text_raw(&all, "", 1);
    FUZZ_CHECK(!all.failed, "no memory for an answer");
    *len = all.len - 1;
    return all.data;
}

static const char *answer_header(const struct MHD_Response *r, const char *name)
{
    for (unsigned i = 0; i < r->n_headers; i++)
        if (strcasecmp(r->headers[i][0], name) == 0)
            return r->headers[i][1];
    return "";
}

static void check_answer(struct MHD_Connection *c, struct http_connection *h, void (*turn)(void))
{
    const char *type = answer_header(c->response, "Content-Type");
    size_t len;
    char *text = content(c, h, turn, &len);

    FUZZ_CHECK(c->status < 400 || strcmp(type, "application/problem+json") == 0, "status %u as %s",
               c->status, type);
    FUZZ_CHECK(c->status != 500, "an internal error: %.300s", text);
    if (strstr(type, "json") && strcmp(type, "application/x-ndjson") != 0)
        fuzz_check_json(text, len, "an answer");
    for (char *line = text, *end; strcmp(type, "application/x-ndjson") == 0 && *line; line = end) {
        end = line + strcspn(line, "\n");
        fuzz_check_json(line, (size_t)(end - line), "a line of an answer");
        end += *end == '\n';
    }
    free(text);
}

void mhd_request(struct fuzz_in *in, void (*turn)(void))
{
    struct MHD_Connection c = {.status = 0};
    char *method = fuzz_line(in, ' '), *target = fuzz_line(in, ' '), *version = line_of(in);
    const char *const first[3] = {method, target, version};
    void *context;

    read_headers(&c, in);
    daemon_calls.on_socket(daemon_calls.door, &c, &c.socket, MHD_CONNECTION_NOTIFY_STARTED);
    context = daemon_calls.on_target(NULL, target, &c);
    talk(&c, first, in, &context, turn);
    if (c.response)
        check_answer(&c, context, turn);
    daemon_calls.on_completed(NULL, &c, &context, MHD_REQUEST_TERMINATED_COMPLETED_OK);
    if (c.response)
        MHD_destroy_response(c.response);
    daemon_calls.on_socket(daemon_calls.door, &c, &c.socket, MHD_CONNECTION_NOTIFY_CLOSED);
    for (unsigned i = 0; i < c.n_headers; i++)
        free(c.headers[i][0]);
    free(method);
    free(target);
    free(version);
}
