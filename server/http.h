/* http.h - libmicrohttpd behind one door: requests, streaming bodies, suspend and resume.
 *
 * A request lives on one connection and is handled by one pool thread at a time. While suspended it
 * belongs to whoever will resume it.
 */
#ifndef TUTTI_SERVER_HTTP_H
#define TUTTI_SERVER_HTTP_H

#include "schema/error.h"
#include "server/body.h"
#include "server/codec.h"
#include "server/params.h"
#include "server/text.h"
#include "server/tokens.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct route;
struct http_connection; /* opaque: http.c's */

enum method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_DELETE,
    METHOD_OPTIONS,
    METHOD_PATCH, /* known, and taken nowhere */
    METHOD_COUNT
};

#define REQUEST_ARGS 4
#define REQUEST_ARG_BYTES 128

/* Holds a shape of LIMIT_NDIM lengths, and any other header of ours. */
#define REPLY_HEADER_BYTES (LIMIT_NDIM * 21 + 32)

/* What a handler's return value means. */
enum { HANDLED = 0, SUSPENDED = 1 }; /* or -1 with an err: a problem document */

struct request;

struct reply {
    int status;
    char content_type[64];
    struct text text; /* the body, unless parts.n > 0 */
    struct parts parts;
    long (*stream)(struct request *rq, char *buf, size_t max); /* or the body as it comes */
    uint32_t n_headers;
    struct {
        char name[32];
        char value[REPLY_HEADER_BYTES];
    } headers[12];
    struct text outputs; /* Tutti-Outputs, of any length; empty: no such header */
    bool close;          /* Connection: close */
};

struct request {
    enum method method;
    const struct route *route;
    struct visitor visitor;                     /* who asks */
    char args[REQUEST_ARGS][REQUEST_ARG_BYTES]; /* {segments} of the path, decoded, in order */
    struct params *params; /* of the query; the JSON body's are added by the handler */
    int64_t length_bytes;  /* Content-Length; -1: chunked; 0: none */
    bool has_body;
    bool holds_wait;         /* http_take_wait */
    uint64_t received_us;    /* wall */
    uint64_t received_at_us; /* clock_us() */
    struct body body;
    struct json_jobs *jobs; /* finds outputs of jobs that the body names; freed with the request */
    struct reply reply;

    /* A handler's own, from suspend to resume. free is called once, when the request ends. */
    void *state;
    void (*state_free)(void *state);
    int (*resume)(struct request *rq,
                  struct err *e); /* called on a pool thread after http_resume */

    struct http_connection *connection;
};

/* A request header's value, or NULL. Valid while the request is. */
const char *request_header(const struct request *rq, const char *name);

/* Suspends: from a handler, on its pool thread, before it posts anything (the answer may be there
 * at once). Then return SUSPENDED. gone is called (watch thread, at most once, never after
 * http_resume) when the client has hung up: it must see to an early http_resume. */
void http_suspend(struct request *rq, void (*gone)(struct request *rq));

/* Any thread; exactly once a suspend. rq->resume is then called on a pool thread, unless the client
 * is gone. */
void http_resume(struct request *rq);

/* Before a request waits for what others do: its account may have so many, and the service has
 * places for so many. Once taken it is the request's until its end; a second call takes no second
 * one. Returns 0, or -1 with ERR_quota or ERR_too_many_waits. */
int http_take_wait(struct request *rq, struct err *e);
uint32_t http_waits(void); /* any thread */

/* Replies. Each returns HANDLED. */
int reply_text(struct request *rq, int status, const char *content_type); /* sends rq->reply.text */
int reply_document(
    struct request *rq, int status,
    const char *content_type); /* the same, which is JSON, with a newline behind it */
int reply_json(struct request *rq, int status); /* the same as application/json */
int reply_parts(struct request *rq, int status,
                const char *content_type); /* sends rq->reply.parts */
int reply_empty(struct request *rq, int status);

/* A body of unknown length. bytes, on a pool thread, puts up to max of them into buf and returns
 * how many; -1 at the end; or 0 after http_suspend, whose http_resume has it called again. */
int reply_stream(struct request *rq, int status, const char *content_type,
                 long (*bytes)(struct request *rq, char *buf, size_t max));
void reply_header(struct request *rq, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The Content-Security-Policy of what is HTML, unless its handler says another. */
#define PAGE_POLICY                                                                                \
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src " \
    "'none'"

struct http_options {
    const char *host; /* NULL or "": no port */
    uint16_t port;    /* 0: a free one */
    const char *path; /* of a Unix socket; NULL or "": none */
    uint32_t path_mode;
    bool path_wanted, path_anybody; /* no start without it; who opens it comes in without a token */
    uint32_t threads;               /* for each */
    const char *tls_cert, *tls_key; /* files in PEM; "": plain HTTP; of the port alone */
};

/* Main thread. First takes the port, reads certificate and key, which may need root; then, as the
 * user who serves, listens on it, and makes the Unix socket. 0, or -1 with ERR_option. */
int http_bind(const struct http_options *o, struct err *e);
int http_start(const struct http_options *o, uint16_t *port, struct err *e);

const char *http_path(void); /* of the Unix socket; "": there is none. Any thread. */

/* Any thread: connections that are open at the port and the socket, up to how many requests are
 * served, and how many were closed because their clients were too slow. */
void http_connections(uint32_t *open, uint32_t *most, uint64_t *too_slow);

void http_quiesce(void); /* no new connections; those that are kept close after their next answer */

/* Main thread: waits for requests to end (all waits must have been woken), stops the daemon. */
void http_stop(void);

#endif
