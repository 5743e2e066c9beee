/* http_head.c - everything that is decided before the body: framing, route, query, codec. */
#include "schema/clock.h"
#include "schema/limits.h"
#include "server/auth.h"
#include "server/guard.h"
#include "server/http_internal.h"
#include "server/routes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- headers ---- */

static bool is_token(const char *name, size_t len)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
              (c && strchr(marks, c))))
            return false;
    }
    return len > 0;
}

static bool is_clean(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (value[i] == '\r' || value[i] == '\n' || value[i] == '\0')
            return false;
    return true;
}

/* Headers that mean something else, or nothing, when they come twice, and that guard_head does not
 * count. */
static void see_single(struct guard_head *h, const char *name)
{
    static const char *const single[] = {"Content-Type",    "Content-Encoding", "Expect",
                                         "Idempotency-Key", "If-Match",         "If-None-Match",
                                         "Range",           "Authorization"};

    for (unsigned i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (strcasecmp(name, single[i]) != 0)
            continue;
        if (h->seen >> i & 1)
            h->repeated = single[i];
        h->seen |= 1u << i;
    }
}

static enum MHD_Result see_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t len,
                                  const char *value, size_t value_len)
{
    struct guard_head *h = cls;

    (void)kind;
    value = value ? value : "";
    h->headers++;
    h->header_bytes += (uint32_t)(len + value_len);
    h->bad_name |= !is_token(name, len);
    h->bad_value |= !is_clean(value, value_len);
    see_single(h, name);
    if (strcasecmp(name, "Host") == 0) {
        h->hosts++;
        h->host = value;
    } else if (strcasecmp(name, "Content-Length") == 0) {
        h->lengths++;
        h->length = value;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        h->encodings++;
        h->encoding = value;
    } else if (strcasecmp(name, "Origin") == 0) {
        h->origins++;
        h->origin = value;
    } else if (strcasecmp(name, "Expect") == 0) {
        h->expect = value;
    } else if (strcasecmp(name, "Content-Encoding") == 0) {
        h->content_encoding = value;
    }
    return MHD_YES;
}

/* ---- target ---- */

static void decode(char *text)
{
    size_t len = strlen(text);

    route_decode(text, len + 1, text, len, true);
}

static int read_query(struct request *rq, unsigned where, char *query, struct err *e)
{
    char *save = NULL;

    for (char *pair = strtok_r(query, "&", &save); pair; pair = strtok_r(NULL, "&", &save)) {
        char *equals = strchr(pair, '=');
        char *value = equals ? equals + 1 : pair + strlen(pair);

        if (equals)
            *equals = '\0';
        decode(pair);
        decode(value);
        if (params_from_query(rq->params, where, pair, value, e) != 0)
            return -1;
    }
    return 0;
}

/* RFC 7240: a comma-separated list of preferences; those we do not know are ignored. */
static int read_prefer(struct request *rq, unsigned where, struct err *e)
{
    const char *prefer = request_header(rq, "Prefer");
    char value[64];

    for (const char *at = prefer; at && *at;) {
        size_t len = strcspn(at, ",");

        while (len > 0 && *at == ' ') {
            at++;
            len--;
        }
        if (len > 5 && strncasecmp(at, "wait=", 5) == 0 && params_taken(where, PARAM_wait)) {
            size_t n = strcspn(at + 5, ",; ");

            if (n >= sizeof value)
                return err_set(e, ERR_bad_parameter, "Prefer: wait= is a number of seconds");
            memcpy(value, at + 5, n);
            value[n] = '\0';
            if (!params_has(rq->params, PARAM_wait))
                return params_from_query(rq->params, where, "wait", value, e);
            if (strcmp(rq->params->from_query_text[PARAM_wait], value) != 0)
                return err_set(e, ERR_conflicting_parameter,
                               "Prefer: wait= and ?wait= have two values");
        }
        at += len + (at[len] == ',');
    }
    return 0;
}

static int read_method(const char *text, enum method *out, struct err *e)
{
    for (int m = 0; m < METHOD_COUNT; m++) {
        if (strcmp(method_name((enum method)m), text) == 0) {
            *out = (enum method)m;
            return 0;
        }
    }
    return err_set(e, ERR_method_unknown, "the method %.32s is not known here", text);
}

/* ---- the whole ---- */

static int find_route(struct request *rq, const char *path, struct err *e)
{
    char allow[128];

    if (route_find(rq->method, path, &rq->route, rq->args, allow, sizeof allow, e) == 0)
        return 0;
    if (allow[0])
        reply_header(rq, "Allow", "%s, OPTIONS", allow);
    if (rq->method == METHOD_OPTIONS && e->code == ERR_method_not_allowed) {
        reply_empty(rq, 204);
        return 1;
    }
    return -1;
}

/* Whoever came when there was room is served, also while there is none. */
static int check_load(const struct http_connection *c, struct err *e)
{
    const struct http_door *d = c->socket->door;

    if (!c->socket->beyond || atomic_load(&d->open) <= d->most ||
        strcmp(c->rq.route->pattern, "/healthz") == 0)
        return 0;
    return err_set(e, ERR_overloaded, "%u connections are open; try again later", d->most);
}

/* Where a request comes from. */
static struct origin origin_of(const struct http_connection *c)
{
    const struct http_door *d = c->socket->door;
    const union MHD_ConnectionInfo *info;

    if (d->family == AF_UNIX)
        return (struct origin){.local = true,
                               .uid = c->socket->uid,
                               .stranger = !d->anybody && c->socket->uid != 0 &&
                                           c->socket->uid != geteuid()};
    info = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return (struct origin){.address = info ? info->client_addr : NULL};
}

/* RFC 6750: whoever is refused for want of a token is told which kind. */
static int read_visitor(struct http_connection *c, const char *query, struct err *e)
{
    struct request *rq = &c->rq;
    struct origin from = origin_of(c);
    bool changes = rq->method != METHOD_GET && rq->method != METHOD_HEAD;

    if (query && auth_query(query, e) != 0)
        return -1;
    if (auth_visitor(request_header(rq, "Authorization"), &from, rq->route->open, changes,
                     &rq->visitor, e) == 0)
        return 0;
    if (e->code == ERR_unauthorized)
        reply_header(rq, "WWW-Authenticate", "Bearer realm=\"tutti\"");
    return -1;
}

/* By what the query says, or by what the route does unless it says otherwise. A body in JSON may
 * say so too: its reader takes the place then. */
static bool may_wait(const struct request *rq)
{
    if (params_has(rq->params, PARAM_wait))
        return params_us(rq->params, PARAM_wait, 0) > 0;
    return rq->route->where & (WHERE_CALL | WHERE_BARRIER);
}

int head_read(struct http_connection *c, const char *method, const char *version, struct err *e)
{
    struct request *rq = &c->rq;
    struct guard_head head = {.version = version};
    struct codec_head codec;
    char *query;
    int rc;

    rq->received_us = clock_wall_us();
    rq->received_at_us = clock_us();
    if (c->target_rc != 0) {
        *e = c->err;
        return -1;
    }
    MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, see_header, &head);
    if (guard_head(&head, &rq->length_bytes, e) != 0)
        return -1;
    c->head_understood = true;
    if (read_method(method, &rq->method, e) != 0)
        return -1;
    rq->has_body = rq->length_bytes != 0;
    query = strchr(c->target, '?');
    if (query)
        *query++ = '\0';
    rc = find_route(rq, c->target, e);
    if (rc != 0)
        return rc;
    rq->params = malloc(sizeof *rq->params);
    if (!rq->params)
        return err_set(e, ERR_no_memory, "a request");
    params_init(rq->params);
    if (check_load(c, e) != 0 || read_visitor(c, query, e) != 0 ||
        (query && read_query(rq, rq->route->where, query, e) != 0) ||
        read_prefer(rq, rq->route->where, e) != 0)
        return -1;
    if (may_wait(rq) && http_take_wait(rq, e) != 0)
        return -1;
    codec = (struct codec_head){.has_dtype = params_has(rq->params, PARAM_dtype),
                                .dtype = rq->params->dtype,
                                .has_shape = params_has(rq->params, PARAM_shape),
                                .shape = rq->params->shape,
                                .length_bytes = rq->length_bytes,
                                .payer = rq->visitor.account};
    return body_begin(&rq->body, rq->route->body, request_header(rq, "Content-Type"), &codec, e);
}
