/* routes.c - the endpoints, one row each, and the tables as text. */
#include "server/routes.h"
#include "schema/op.h"
#include "schema/state.h"
#include "server/api.h"
#include "server/metrics.h"
#include "server/prometheus.h"
#include "server/static.h"

#include <stdio.h>
#include <string.h>

#define ROW(method, pattern, handler, body, where, open, sentence)            \
    {                                                                         \
        METHOD_##method, pattern, handler, BODY_##body, where, open, sentence \
    }
#define ROUTE(method, pattern, handler, body, where, sentence) \
    ROW(method, pattern, handler, body, where, false, sentence)
/* Answered without a token: it says nothing of anybody. */
#define OPEN(pattern, handler, sentence) ROW(GET, pattern, handler, NONE, 0, true, sentence)

static const struct route routes[] = {
#define STATIC(name, route, file, type, sentence) OPEN(route, api_static, sentence),
#include "server/static.def"
#undef STATIC
    ROUTE(GET, "/v1", api_v1, NONE, 0, "The service: version, backend, world size, limits."),
    ROUTE(GET, "/v1/workers", api_worker_list, NONE, 0, "All ranks."),
    ROUTE(GET, "/v1/workers/{rank}", api_worker_get, NONE, 0, "One rank."),
    ROUTE(GET, "/v1/groups", api_group_list, NONE, WHERE_LIST, "All groups."),
    ROUTE(POST, "/v1/groups", api_group_create, JSON, 0, "Name an ordered list of ranks."),
    ROUTE(GET, "/v1/groups/{name}", api_group_get, NONE, 0, "One group."),
    ROUTE(DELETE, "/v1/groups/{name}", api_group_delete, NONE, 0, "Forget a group."),
    ROUTE(POST, "/v1/tensors", api_tensor_create, TENSORS, WHERE_TENSOR, "Upload a tensor."),
    ROUTE(GET, "/v1/tensors/{id}", api_tensor_get, NONE, WHERE_READ_TENSOR,
          "A tensor's metadata, elements or bytes."),
    ROUTE(DELETE, "/v1/tensors/{id}", api_tensor_delete, NONE, 0, "Forget a tensor."),
    ROUTE(POST, "/v1/groups/{name}/ranks/{rank}/calls", api_call_create, MAYBE, WHERE_CALL,
          "One rank's own call of a collective."),
    ROUTE(POST, "/v1/groups/{name}/barrier", api_barrier, NONE, WHERE_BARRIER,
          "Answers when every rank has come."),
    ROUTE(POST, "/v1/groups/{name}/bcast", api_bcast, VALUE, WHERE_BARRIER,
          "A JSON value from rank 0 to all."),
    ROUTE(GET, "/v1/groups/{name}/kv", api_kv_list, NONE, WHERE_LIST_KV, "A group's keys."),
    ROUTE(GET, "/v1/groups/{name}/kv/{key}", api_kv_get, NONE, WHERE_KV,
          "A key's value; waits for it."),
    ROUTE(PUT, "/v1/groups/{name}/kv/{key}", api_kv_put, VALUE, WHERE_PUT_KV,
          "Give a key a JSON value."),
    ROUTE(DELETE, "/v1/groups/{name}/kv/{key}", api_kv_delete, NONE, WHERE_KV,
          "Take a key's value away, and give it; waits for it."),
    ROUTE(GET, "/v1/jobs", api_job_list, NONE, WHERE_LIST_JOBS, "Jobs, newest first."),
    ROUTE(POST, "/v1/jobs", api_job_create, TENSORS, WHERE_JOB, "Run a collective."),
    ROUTE(POST, "/v1/jobs:batch", api_jobs_batch, LINES, WHERE_BATCH | WHERE_LINE,
          "Run many collectives, one a line."),
    ROUTE(GET, "/v1/jobs/{id}", api_job_get, NONE, WHERE_READ_JOB, "One job; waits for its end."),
    ROUTE(DELETE, "/v1/jobs/{id}", api_job_delete, NONE, 0,
          "Forget a finished job and its tensors."),
    ROUTE(POST, "/v1/jobs/{id}/cancel", api_job_cancel, NONE, 0, "Stop a job."),
    ROUTE(POST, "/v1/jobs/{id}/backward", api_job_backward, TENSORS, WHERE_BACKWARD,
          "The gradient of a finished job."),
    ROUTE(GET, "/v1/jobs/{id}/events", api_job_events, NONE, 0,
          "One job, as it goes on; ends with it."),
    ROUTE(GET, "/v1/jobs/{id}/reproduce", api_job_reproduce, NONE, 0,
          "A shell script that repeats the job."),
    ROUTE(GET, "/v1/jobs/{id}/outputs", api_outputs_get, NONE, WHERE_OUTPUT,
          "Every rank's output."),
    ROUTE(GET, "/v1/jobs/{id}/outputs/{rank}", api_output_get, NONE, WHERE_OUTPUT,
          "One group rank's output."),
    ROUTE(GET, "/v1/events", api_events, NONE, 0,
          "What happens to jobs, workers and groups, as it happens."),
    ROUTE(GET, "/v1/trace", api_trace, NONE, WHERE_TRACE, "Jobs, rank by rank, on one time axis."),
    ROUTE(GET, "/v1/metrics", api_metrics, NONE, 0, "Counters, rates and percentiles."),
    ROUTE(GET, "/metrics", api_prometheus, NONE, 0, "All metrics, for Prometheus."),
    OPEN("/docs/errors", api_error_list, "The errors, with a page each."),
    OPEN("/docs/errors/{code}", api_error_page, "What an error means, and what to do."),
    OPEN("/healthz", api_healthz, "The process answers."),
    OPEN("/readyz", api_readyz, "All ranks have joined."),
};

#define ROUTES (sizeof routes / sizeof routes[0])

_Static_assert(ROUTES < METRICS_ROUTES, "a place for each, and one for requests without a route");

static const char *const method_names[METHOD_COUNT] = {
    [METHOD_GET] = "GET",     [METHOD_HEAD] = "HEAD",     [METHOD_POST] = "POST",
    [METHOD_PUT] = "PUT",     [METHOD_DELETE] = "DELETE", [METHOD_OPTIONS] = "OPTIONS",
    [METHOD_PATCH] = "PATCH",
};

const char *method_name(enum method m)
{
    return method_names[m];
}

const struct route *route_at(size_t i)
{
    return i < ROUTES ? &routes[i] : NULL;
}

uint32_t route_number(const struct route *r)
{
    return r ? (uint32_t)(r - routes) : METRICS_ROUTES - 1;
}

static int hex(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

int route_decode(char *to, size_t cap, const char *from, size_t len, bool plus_is_space)
{
    const char *end = from + len, *last = to + cap - 1;

    while (from < end) {
        char c = *from++;

        if (to == last)
            return -1;
        if (c == '%') {
            c = (char)(hex(from[0]) << 4 | hex(from[1]));
            from += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        *to++ = c;
    }
    *to = '\0';
    return 0;
}

/* Segment by segment; args gets what stands for {segments}. */
static bool matches(const char *pattern, const char *path, char args[][REQUEST_ARG_BYTES])
{
    uint32_t n = 0;

    while (*pattern && *path) {
        size_t len;

        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        len = strcspn(path, "/");
        if (len == 0 || n == REQUEST_ARGS)
            return false;
        if (route_decode(args[n], REQUEST_ARG_BYTES, path, len, false) != 0)
            args[n][0] = '\0'; /* longer than any name: no thing has it */
        n++;
        pattern += strcspn(pattern, "}") + 1;
        path += len;
    }
    return *pattern == '\0' && *path == '\0';
}

static void add_method(char *allow, size_t size, const char *name)
{
    size_t len = strlen(allow);

    snprintf(allow + len, size - len, "%s%s", len ? ", " : "", name);
}

int route_find(enum method method, const char *path, const struct route **out,
               char args[REQUEST_ARGS][REQUEST_ARG_BYTES], char *allow, size_t allow_size,
               struct err *e)
{
    enum method want = method == METHOD_HEAD ? METHOD_GET : method;
    const char *near;

    allow[0] = '\0';
    for (const struct route *r = routes; r < routes + ROUTES; r++) {
        if (!matches(r->pattern, path, args))
            continue;
        if (r->method == want) {
            *out = r;
            return 0;
        }
        add_method(allow, allow_size, method_names[r->method]);
        if (r->method == METHOD_GET)
            add_method(allow, allow_size, "HEAD");
    }
    if (allow[0])
        return err_set(e, ERR_method_not_allowed, "this resource takes %s", allow);
    near = route_near(path);
    return err_set(e, ERR_not_found,
                   "there is no such path%s%s%s /openapi.yaml lists what there is",
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : ";");
}

/* What each route takes and gives, as far as the tables say. */
static void print_details(void)
{
    static const char *const bodies[] = {
        [BODY_NONE] = "none",   [BODY_JSON] = "json",   [BODY_TENSORS] = "tensors",
        [BODY_MAYBE] = "maybe", [BODY_VALUE] = "value", [BODY_LINES] = "lines",
    };

    for (size_t i = 0; i < ROUTES; i++) {
        const struct route *r = &routes[i];

        printf("body %s %s %s\n", method_names[r->method], r->pattern, bodies[r->body]);
        printf("takes %s %s", method_names[r->method], r->pattern);
        params_print_taken(r->where);
        printf("\n");
        if (r->handler == api_static)
            printf("static %s %s\n", r->pattern, static_find(r->pattern)->type);
        if (r->open)
            printf("open %s %s\n", method_names[r->method], r->pattern);
    }
}

void routes_print_tables(void)
{
    for (size_t i = 0; i < ROUTES; i++)
        printf("route %s %s %s\n", method_names[routes[i].method], routes[i].pattern,
               routes[i].sentence);
    print_details();
    params_print_table();
    for (int c = ERR_none + 1; c < ERR_COUNT; c++)
        printf("error %s %d %s\n", err_name((enum err_code)c), err_status((enum err_code)c),
               err_title((enum err_code)c));
    for (const struct op *op = ops; op < ops + OP_COUNT; op++)
        printf("op %s %s\n", op->name, op->sentence);
    for (int d = 0; d < DTYPE_COUNT; d++)
        printf("dtype %s %u\n", dtypes[d].name, dtypes[d].size_bytes);
    for (int s = 0; s < JOB_STATE_COUNT; s++)
        printf("state job %s\n", job_state_name((enum job_state)s));
    for (int s = 0; s < WORKER_STATE_COUNT; s++)
        printf("state worker %s\n", worker_state_name((enum worker_state)s));
    prometheus_print_table();
    printf("limit ranks %d\nlimit dimensions %d\nlimit elements_shown %d\nlimit elements_json %u\n",
           LIMIT_RANKS, LIMIT_NDIM, LIMIT_INLINE_ELEMENTS, LIMIT_JSON_ELEMENTS);
    printf("limit key_bytes %d\nlimit idempotency_key_bytes %d\nlimit account_bytes %d\n",
           LIMIT_KV_KEY_BYTES, LIMIT_KEY_BYTES, LIMIT_ACCOUNT_BYTES);
}
