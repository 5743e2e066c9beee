/* http_internal.h - what the http*.c files share; nobody else includes it. The one door for
 * <microhttpd.h>. */
#ifndef TUTTI_SERVER_HTTP_INTERNAL_H
#define TUTTI_SERVER_HTTP_INTERNAL_H

#include "server/http.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <sys/types.h>

#define HTTP_TLS_OPTIONS 4

enum phase {
    PHASE_HEAD,    /* nothing was looked at */
    PHASE_DECIDED, /* without the handler; answered when the request is complete */
    PHASE_BODY,    /* the body is coming */
    PHASE_DISCARD, /* refused: what still comes is dropped */
    PHASE_WAITING, /* suspended, or about to be called again */
    PHASE_ANSWERED,
};

/* Where clients come in: each has a daemon and places of its own, so that a crowd before the one
 * leaves the other open. */
struct http_door {
    int fd; /* -1: it is not there; from its start on the daemon's */
    int family;
    bool anybody; /* AF_UNIX: users other than ours may come without a token, too */
    struct MHD_OptionItem tls[HTTP_TLS_OPTIONS];
    struct MHD_Daemon *mhd;
    atomic_uint open; /* sockets */
    uint32_t most;    /* that are served; beyond are told to come later */
};

/* A socket, from accept to close. Under the watch's lock. */
struct http_socket {
    int fd;
    struct http_door *door;
    uid_t uid; /* AF_UNIX: whose process is at the other end */
    uint32_t generation;
    struct http_socket *next, **prev;
    uint64_t since_us;               /* clock_us(): accepted, or answered */
    uint64_t got_bytes, taken_bytes; /* of the body; of answers, when it was last looked */
    uint64_t behind_us;              /* how far the client is behind the least rate */
    bool beyond;                     /* it came when as many were open as are served */
    bool fresh;                      /* no request yet */
    bool in_body;                    /* bytes are due */
    struct http_connection *request; /* being handled; NULL between requests */
};

/* A request on its way. */
struct http_connection {
    struct MHD_Connection *mhd;
    struct http_socket *socket;
    struct request rq;
    char *target; /* raw */
    enum phase phase;
    int target_rc;
    bool head_understood; /* its framing is sound */
    int decided_rc;       /* 1: rq->reply is the answer, -1: err is */
    struct err err;       /* of a refused target, head or body */
    uint64_t discarded_bytes, discard_until_us;
    /* Under the watch's lock. */
    void (*on_gone)(struct request *rq);
    bool armed, gone;
    atomic_bool resumed; /* what the resumer wrote may be read */
};

/* http_watch.c: hang-ups of suspended requests, and sockets that are too slow. */
int watch_start(struct err *e);
void watch_stop(void);
void watch_socket_opened(struct http_socket *s);
void watch_socket_closed(struct http_socket *s);
void watch_body(struct http_socket *s, bool begins,
                uint64_t bytes); /* a body began, or bytes came */
void watch_answered(struct http_socket *s, struct http_connection *c); /* c: begun; NULL: done */
void watch_arm(struct http_connection *c, void (*gone)(struct request *rq));
/* Disarms; returns whether the client had gone. */
bool watch_disarm(struct http_connection *c);

/* http.c: before and after what may suspend a request, on its pool thread. False: the service
 * stops, and nothing may be done any more. */
bool http_enter(void);
void http_leave(void);

/* http_waits.c: what http_take_wait took; accepts that it took nothing. */
void http_give_wait_back(struct request *rq);

/* http_reply.c: queues rq->reply, or the problem that e describes. */
enum MHD_Result reply_queue(struct http_connection *c);
enum MHD_Result reply_problem(struct http_connection *c, const struct err *e, bool close);

/* http_head.c: all that is decided before the body. Returns 0; 1 when rq->reply is the answer; -1.
 */
int head_read(struct http_connection *c, const char *method, const char *version, struct err *e);

/* http_listen.c: sockets that are bound, and not listened on yet; *fd is the caller's, also on
 * failure. Each returns 0, or -1 with ERR_option. */
int listen_port(const struct http_options *o, int *fd, int *family, struct err *e);
int listen_path(const struct http_options *o, int *fd, struct err *e);
/* MHD_start_daemon closes the socket that it was given on most of its failures, and not on all: it
 * is lent another descriptor of it. Gives that, or -1; settled, the one that is left. errno stays.
 */
int listen_lend(int fd);
int listen_settle(int fd, int lent, bool taken);

/* Why o's port, or its Unix socket, cannot be listened on, by that errno. Returns -1 with
 * ERR_option. */
int listen_refused(const struct http_options *o, int family, int why, struct err *e);
/* How many connections each may have; 0 where there is none. As many as the limits say, or
 * fewer, in the same proportion, where the process may not have as many descriptors. */
void listen_limits(const struct http_options *o, uint32_t *at_port, uint32_t *at_path);
void listen_path_remove(void); /* the socket's file, unless it is another's by now */

/* http_tls.c: certificate and key as options for the daemon, the first MHD_OPTION_END for plain
 * HTTP. Returns 0, or -1 with ERR_option that names the file. */
int http_tls_read(const struct http_options *o, struct MHD_OptionItem out[HTTP_TLS_OPTIONS],
                  struct err *e);
void http_tls_free(struct MHD_OptionItem *tls);

extern atomic_bool http_quiescing;
extern atomic_uint_least64_t http_too_slow; /* shut by the watch */

#endif
