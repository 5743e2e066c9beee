/* http.c - libmicrohttpd: the daemons, and a request from its first call to its answer. */
#include "server/http.h"
#include "schema/clock.h"
#include "schema/failpoint.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "server/auth.h"
#include "server/guard.h"
#include "server/http_internal.h"
#include "server/routes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STOP_MS 5000
#define CLOSE_MS 1000
#define STACK_BYTES (8u << 20)
#define CONNECTION_BYTES (128u << 10) /* read buffer: larger reads make large uploads faster */
#define BACKLOG 1024
#define POLL_US 1000

atomic_bool http_quiescing;

#define NO_TLS                       \
    {                                \
        {                            \
            .option = MHD_OPTION_END \
        }                            \
    }
static struct http_door port = {.fd = -1, .tls = NO_TLS};
static struct http_door local = {.fd = -1, .tls = NO_TLS, .family = AF_UNIX};
static char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
static atomic_uint requests;  /* being handled */
static atomic_uint suspended; /* of these */
static atomic_uint within;    /* threads that handle one now */
static atomic_bool closing;   /* and no more may */

const char *http_path(void)
{
    return path;
}

void http_connections(uint32_t *open, uint32_t *most, uint64_t *too_slow)
{
    *too_slow = atomic_load(&http_too_slow);
    *open = atomic_load(&port.open) + atomic_load(&local.open);
    *most = port.most + local.most;
}

const char *request_header(const struct request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->connection->mhd, MHD_HEADER_KIND, name);
}

/* ---- life of sockets and requests ---- */

/* Whose process is at the other end, as the kernel says. */
static uid_t peer_uid(int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 ? who.uid : (uid_t)-1;
}

static void on_socket(void *cls, struct MHD_Connection *con, void **context,
                      enum MHD_ConnectionNotificationCode code)
{
    struct http_socket *s = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        s = calloc(1, sizeof *s);
        *context = s;
        if (!s)
            return;
        s->fd = MHD_get_connection_info(con, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        s->door = cls;
        s->beyond = atomic_fetch_add(&s->door->open, 1) >= s->door->most;
        if (s->door->family == AF_UNIX)
            s->uid = peer_uid(s->fd);
        watch_socket_opened(s);
    } else if (s) {
        watch_socket_closed(s);
        atomic_fetch_sub(&s->door->open, 1);
        free(s);
        *context = NULL;
    }
}

/* How many levels below the root of the service a target is, without its query. */
static unsigned depth(const char *target)
{
    unsigned slashes = 0;

    for (; *target && *target != '?'; target++)
        slashes += *target == '/';
    return slashes > 0 ? slashes - 1 : 0;
}

/* The raw target, before libmicrohttpd decodes it; what is returned becomes the request's context.
 */
static void *on_target(void *cls, const char *target, struct MHD_Connection *con)
{
    struct http_connection *c;

    (void)cls;
    if (!target)
        return NULL;
    c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->mhd = con;
    c->rq.connection = c;
    c->rq.reply.text.up = depth(target);
    c->target = strdup(target);
    c->target_rc = c->target ? guard_target(target, &c->err)
                             : err_set(&c->err, ERR_no_memory, "a request");
    atomic_fetch_add(&requests, 1);
    return c;
}

static void on_completed(void *cls, struct MHD_Connection *con, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct http_connection *c = *context;

    (void)cls;
    (void)con;
    *context = NULL;
    if (!c)
        return;
    if (code == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED)
        atomic_fetch_add(&http_too_slow, 1);
    if (c->socket)
        watch_answered(c->socket, NULL);
    if (c->rq.state_free)
        c->rq.state_free(c->rq.state);
    http_give_wait_back(&c->rq);
    body_fini(&c->rq.body);
    if (c->rq.jobs)
        c->rq.jobs->free(c->rq.jobs);
    text_fini(&c->rq.reply.text);
    text_fini(&c->rq.reply.outputs);
    parts_fini(&c->rq.reply.parts);
    free(c->rq.params);
    free(c->target);
    free(c);
    atomic_fetch_sub(&requests, 1);
}

/* ---- handling ---- */

bool http_enter(void)
{
    atomic_fetch_add(&within, 1);
    if (!atomic_load(&closing))
        return true;
    http_leave();
    return false;
}

void http_leave(void)
{
    atomic_fetch_sub(&within, 1);
}

void http_suspend(struct request *rq, void (*gone)(struct request *rq))
{
    struct http_connection *c = rq->connection;

    c->phase = PHASE_WAITING;
    atomic_store_explicit(&c->resumed, false, memory_order_relaxed);
    atomic_fetch_add(&suspended, 1);
    MHD_suspend_connection(c->mhd);
    watch_arm(c, gone);
}

void http_resume(struct request *rq)
{
    struct http_connection *c = rq->connection;
    struct MHD_Connection *con = c->mhd;

    c->rq.reply.close |= watch_disarm(c);
    atomic_fetch_sub(&suspended, 1);
    atomic_store_explicit(&c->resumed, true, memory_order_release); /* all we wrote comes before */
    MHD_resume_connection(con);                                     /* c may be gone at once */
}

static enum MHD_Result settle(struct http_connection *c, int rc, const struct err *e)
{
    if (rc == SUSPENDED)
        return MHD_YES;
    http_give_wait_back(&c->rq); /* before the answer: its reader's next request may wait */
    return rc == HANDLED ? reply_queue(c) : reply_problem(c, e, false);
}

/* An answer before the body is the last of its connection: what was to follow would be read as the
 * next request. libmicrohttpd closes after any answer in the first call, so one to a request that
 * is complete waits for the second. */
static enum MHD_Result decided(struct http_connection *c, int rc)
{
    bool complete = c->head_understood && c->rq.length_bytes == 0 && c->err.code != ERR_overloaded;

    c->decided_rc = rc;
    if (complete) {
        c->phase = PHASE_DECIDED;
        return MHD_YES;
    }
    c->rq.reply.close = true;
    return rc > 0 ? reply_queue(c) : reply_problem(c, &c->err, true);
}

static enum MHD_Result first_call(struct http_connection *c, const char *method,
                                  const char *version)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        c->mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    int rc;

    c->socket = info ? info->socket_context : NULL;
    if (!c->socket)
        return MHD_NO;
    watch_answered(c->socket, c);
    rc = head_read(c, method, version, &c->err);
    if (rc != 0)
        return decided(c, rc);
    c->phase = PHASE_BODY;
    if (c->rq.has_body)
        watch_body(c->socket, true, 0);
    return MHD_YES;
}

/* No answer can be queued while a body comes, so a refused one is read on and dropped for a while.
 */
static enum MHD_Result discard(struct http_connection *c, size_t len)
{
    c->discarded_bytes += len;
    return c->discarded_bytes <= LIMIT_DISCARD_BYTES && clock_us() < c->discard_until_us ? MHD_YES
                                                                                         : MHD_NO;
}

static enum MHD_Result body_call(struct http_connection *c, const char *bytes, size_t *len)
{
    size_t n = *len;

    *len = 0;
    watch_body(c->socket, false, n);
    if (c->phase == PHASE_DISCARD)
        return discard(c, n);
    if (body_feed(&c->rq.body, (const uint8_t *)bytes, n, &c->err) != 0) {
        body_fini(&c->rq.body);
        c->phase = PHASE_DISCARD;
        c->discard_until_us = clock_us() + LIMIT_DISCARD_MS * 1000u;
    }
    return MHD_YES;
}

static enum MHD_Result last_call(struct http_connection *c)
{
    struct err e;
    int rc;

    if (c->phase == PHASE_DISCARD)
        return reply_problem(c, &c->err, true);
    watch_answered(c->socket, c);
    rc = body_finish(&c->rq.body, &e);
    if (rc == 0)
        rc = c->rq.route->handler(&c->rq, &e);
    return settle(c, rc, &e);
}

static enum MHD_Result handle(struct http_connection *c, const char *method, const char *version,
                              const char *bytes, size_t *len)
{
    struct err e;

    switch (c->phase) {
    case PHASE_HEAD:
        return first_call(c, method, version);
    case PHASE_DECIDED:
        return c->decided_rc > 0 ? reply_queue(c) : reply_problem(c, &c->err, false);
    case PHASE_BODY:
    case PHASE_DISCARD:
        return *len > 0 ? body_call(c, bytes, len) : last_call(c);
    case PHASE_WAITING:
        if (!atomic_load_explicit(&c->resumed, memory_order_acquire))
            return MHD_YES;
        if (c->gone)
            return MHD_NO;
        return settle(c, auth_still(&c->rq.visitor, &e) != 0 ? -1 : c->rq.resume(&c->rq, &e), &e);
    default:
        return MHD_YES;
    }
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *con, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *len, void **context)
{
    enum MHD_Result rc;

    (void)cls;
    (void)con;
    (void)url;
    if (!*context || !http_enter())
        return MHD_NO;
    rc = handle(*context, method, version, bytes, len);
    http_leave();
    return rc;
}

static void on_log(void *cls, const char *fmt, va_list args)
{
    char line[256];

    (void)cls;
    vsnprintf(line, sizeof line, fmt, args);
    log_debug("http: %s", line);
}

/* ---- the daemons ---- */

int http_bind(const struct http_options *o, struct err *e)
{
    if (!o->host || !o->host[0])
        return 0;
    if (http_tls_read(o, port.tls, e) != 0)
        return -1;
    return listen_port(o, &port.fd, &port.family, e);
}

/* Until libmicrohttpd closes a connection on which nothing moves. Of a Unix socket the kernel
 * counts no bytes that the client took, as http_watch.c wants it; here one who takes nothing of its
 * answer is found by that nothing can be sent, hence the shorter time. */
static unsigned idle_s(const struct http_door *d)
{
    return (d->family == AF_UNIX ? LIMIT_ANSWER_GRACE_MS : LIMIT_IDLE_MS) / 1000u;
}

static int start_daemon(struct http_door *d, const struct http_options *o, uint32_t limit,
                        struct err *e)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_ERROR_LOG | (d->family == AF_INET6 ? MHD_USE_IPv6 : 0u) |
                     (d->tls[0].option != MHD_OPTION_END ? MHD_USE_TLS : 0u);
    int lent;

    if (listen(d->fd, BACKLOG) != 0 || (lent = listen_lend(d->fd)) < 0)
        return listen_refused(o, d->family, errno, e);
    errno = 0;
    d->mhd = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, NULL, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, lent, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)o->threads,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_CONNECTION_LIMIT, limit,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        idle_s(d), MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION, on_socket, d,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_target,
        NULL, MHD_OPTION_ARRAY, d->tls, MHD_OPTION_END);
    http_tls_free(d->tls); /* the daemon has made its own of them */
    d->fd = listen_settle(d->fd, lent, d->mhd != NULL);
    if (!d->mhd && errno == 0)
        return err_set(e, ERR_option,
                       "--tls-cert, --tls-key: certificate and key do not go together");
    return d->mhd ? 0 : listen_refused(o, d->family, errno, e);
}

static void stop_daemon(struct http_door *d)
{
    if (d->mhd)
        MHD_stop_daemon(d->mhd);
    d->mhd = NULL;
    d->fd = -1;
}

static int start_port(const struct http_options *o, uint32_t limit, uint16_t *number, struct err *e)
{
    const union MHD_DaemonInfo *info;

    if (port.fd < 0)
        return 0;
    if (start_daemon(&port, o, limit, e) != 0)
        return -1;
    info = MHD_get_daemon_info(port.mhd, MHD_DAEMON_INFO_BIND_PORT);
    *number = info ? info->port : o->port;
    return 0;
}

static int open_path(const struct http_options *o, uint32_t limit, struct err *e)
{
    local.anybody = o->path_anybody;
    snprintf(path, sizeof path, "%s", o->path);
    if (listen_path(o, &local.fd, e) == 0 && start_daemon(&local, o, limit, e) == 0)
        return 0;
    if (local.fd >= 0)
        close(local.fd);
    local.fd = -1;
    local.most = 0;
    path[0] = '\0';
    listen_path_remove();
    return -1;
}

/* One that nobody has asked for is for speed alone. */
static int start_path(const struct http_options *o, uint32_t limit, struct err *e)
{
    if (!o->path || !o->path[0])
        return 0;
    if (open_path(o, limit, e) == 0)
        log_info("requests from this machine may come to unix:%s, too", o->path);
    else if (o->path_wanted)
        return -1;
    else
        log_warn("no Unix socket: %s", e->detail);
    return 0;
}

int http_start(const struct http_options *o, uint16_t *number, struct err *e)
{
    uint32_t at_port, at_path;

    if (watch_start(e) != 0)
        return -1;
    listen_limits(o, &at_port, &at_path);
    port.most = at_port - at_port / 10; /* all that requests read is there before the first one */
    local.most = at_path - at_path / 10;
    if (start_path(o, at_path, e) == 0 && start_port(o, at_port, number, e) == 0)
        return 0;
    stop_daemon(&port);
    stop_daemon(&local);
    listen_path_remove();
    watch_stop();
    return -1;
}

/* MHD_quiesce_daemon (0.9.75) says that it begins, and aborts when a thread of the pool has then
 * taken the listening socket out of its own epoll set. So the socket goes, from all sets at once,
 * and something that never has an event takes over its number, which MHD closes at the end. */
static void close_door(const struct http_door *d)
{
    int quiet;

    if (!d->mhd)
        return;
    quiet = eventfd(0, EFD_CLOEXEC);
    if (quiet < 0 || dup3(quiet, d->fd, O_CLOEXEC) < 0)
        log_warn("the %s stays open till the end", d->family == AF_UNIX ? "socket" : "port");
    if (quiet >= 0)
        close(quiet);
}

void http_quiesce(void)
{
    if (atomic_exchange(&http_quiescing, true))
        return;
    close_door(&port);
    close_door(&local);
    listen_path_remove();
}

void http_stop(void)
{
    uint64_t deadline = clock_us() + STOP_MS * 1000u;

    http_quiesce();
    while (atomic_load(&requests) > 0 && clock_us() < deadline)
        usleep(POLL_US);
    failpoint("http.stop");
    /* A connection that is open may send one more request, which must not be suspended from here
     * on: libmicrohttpd would abort. */
    atomic_store(&closing, true);
    deadline = clock_us() + CLOSE_MS * 1000u;
    while ((atomic_load(&within) > 0 || atomic_load(&suspended) > 0) && clock_us() < deadline)
        usleep(POLL_US);
    if (atomic_load(&within) > 0 || atomic_load(&suspended) > 0) { /* all were woken */
        log_error("%u requests are still suspended: exiting", atomic_load(&suspended));
        _exit(EXIT_FAILURE);
    }
    stop_daemon(&port);
    stop_daemon(&local);
    watch_stop();
}
