/* routes.h - one row per endpoint. Pure but for the handlers; any thread. */
#ifndef TUTTI_SERVER_ROUTES_H
#define TUTTI_SERVER_ROUTES_H

#include "schema/error.h"
#include "server/http.h"

struct route {
    enum method method;  /* GET rows serve HEAD too */
    const char *pattern; /* "/v1/jobs/{job}": a {segment} matches one non-empty segment */
    int (*handler)(struct request *rq, struct err *e); /* the body, if any, is complete */
    enum body_kind body;
    unsigned where; /* parameters it takes: WHERE_ bits */
    bool open;      /* answered without a token */
    const char *sentence;
};

/* Decodes what is escaped in from[0..len), a piece of a target that guard_target accepted, into to,
 * which may be from. Returns 0, or -1 when it needs more than cap bytes with its '\0'. */
int route_decode(char *to, size_t cap, const char *from, size_t len, bool plus_is_space);

/* The route of a raw path, without normalising: a trailing or double slash is another path. Fills
 * args, decoded (after the split: %2F is no slash); one that is longer than any name is "". Returns
 * 0, or -1 with ERR_not_found, or ERR_method_not_allowed with the Allow header's value in allow. */
int route_find(enum method method, const char *path, const struct route **out,
               char args[REQUEST_ARGS][REQUEST_ARG_BYTES], char *allow, size_t allow_size,
               struct err *e);

/* Row i, or NULL past the last. */
const struct route *route_at(size_t i);

/* The pattern that a raw path without a route is nearest to (nearest.h), or NULL. What stands for
 * {segments} does not count; a path may lack the version. Linear in its length and the rows. */
const char *route_near(const char *path);

/* The i of route_at; of none (NULL): METRICS_ROUTES - 1. */
uint32_t route_number(const struct route *r);

const char *method_name(enum method m);

/* route, body, takes, static, open, param, error, op, dtype, state, limit: one line a row, for
 * tests/check_tables.sh. */
void routes_print_tables(void);

#endif
