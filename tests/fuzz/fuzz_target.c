/* fuzz_target.c - a raw request target: guard, route, query; then a JSON body's members as
 * parameters. A byte (whose parameters they are), the target, a line's end, the body. */
#include "tests/fuzz/fuzz.h"

#include "server/guard.h"
#include "server/params.h"
#include "server/routes.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum param_type type;
    int64_t min, max;
} rows[PARAM_COUNT] = {
#define PARAM(name, type, where, min, max, deflt, sentence) \
    [PARAM_##name] = {#name, TYPE_##type, min, max},
#include "schema/params.def"
#undef PARAM
};

/* What was taken is what params.def allows. */
static void check_params(const struct params *p)
{
    for (int i = 0; i < PARAM_COUNT; i++) {
        int64_t v = p->number[i];

        if (!params_has(p, (enum param_id)i))
            continue;
        switch (rows[i].type) {
        case TYPE_INT:
        case TYPE_FLAG:
            FUZZ_CHECK(v >= rows[i].min && v <= rows[i].max, "%s is %lld", rows[i].name,
                       (long long)v);
            break;
        case TYPE_SECONDS:
            FUZZ_CHECK(p->us[i] >= (uint64_t)rows[i].min * 1000000 &&
                           p->us[i] <= (uint64_t)rows[i].max * 1000000,
                       "%s is %llu us", rows[i].name, (unsigned long long)p->us[i]);
            break;
        case TYPE_TEXT:
            FUZZ_CHECK(strlen(p->text[i]) <= (size_t)rows[i].max, "%s is too long", rows[i].name);
            break;
        default:
            break;
        }
    }
    FUZZ_CHECK(p->dtype < DTYPE_COUNT && p->shape.ndim <= LIMIT_NDIM && p->group.n <= LIMIT_RANKS &&
                   p->n_jobs <= LIMIT_TRACE_JOBS && memchr(p->group.name, 0, sizeof p->group.name),
               "dtype, shape, group or jobs");
}

static void find_routes(const char *path)
{
    char args[REQUEST_ARGS][REQUEST_ARG_BYTES], allow[128];

    for (int m = 0; m < METHOD_COUNT; m++) {
        const struct route *r = NULL;
        struct err e;

        memset(args, 0, sizeof args);
        if (route_find((enum method)m, path, &r, args, allow, sizeof allow, &e) != 0) {
            fuzz_check_err(&e);
            FUZZ_CHECK((e.code == ERR_method_not_allowed) == (allow[0] != 0), "Allow is %s", allow);
            continue;
        }
        FUZZ_CHECK(r && r->handler, "a route without a handler");
        for (int i = 0; i < REQUEST_ARGS; i++)
            FUZZ_CHECK(memchr(args[i], 0, sizeof args[i]), "an argument does not end");
    }
}

static void read_query(struct params *p, unsigned where, char *query)
{
    char *save = NULL;

    for (char *pair = strtok_r(query, "&", &save); pair; pair = strtok_r(NULL, "&", &save)) {
        char *value = pair + strcspn(pair, "=");
        struct err e;

        if (*value)
            *value++ = '\0';
        FUZZ_CHECK(route_decode(pair, strlen(pair) + 1, pair, strlen(pair), true) == 0 &&
                       route_decode(value, strlen(value) + 1, value, strlen(value), true) == 0,
                   "what is decoded is longer");
        if (params_from_query(p, where, pair, value, &e) != 0)
            fuzz_check_err(&e);
        else
            check_params(p);
    }
}

static void read_body(struct params *p, unsigned where, const uint8_t *bytes, size_t len)
{
    struct json_member m[8];
    char *text = fuzz_copy(bytes, len);
    struct json_span doc;
    uint32_t n = 0;
    struct err e;

    if (json_check(text, len, &doc, &e) == 0 && json_kind(&doc) == JSON_OBJECT &&
        json_members(&doc, m, 8, &n, &e) != 0)
        n = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (params_from_json(p, where, &m[i], &e) != 0)
            fuzz_check_err(&e);
        else
            check_params(p);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_in in = {data, len};
    unsigned where = 1u << fuzz_u8(&in) % 16;
    char *target = fuzz_line(&in, '\n'), *query;
    struct params *p = malloc(sizeof *p);
    struct err e;

    FUZZ_CHECK(p, "no memory for parameters");
    params_init(p);
    if (guard_target(target, &e) != 0) {
        fuzz_check_err(&e);
    } else {
        query = strchr(target, '?');
        if (query)
            *query++ = '\0';
        find_routes(target);
        if (query)
            read_query(p, where, query);
    }
    read_body(p, where, in.at, in.len);
    free(p);
    free(target);
    return 0;
}
