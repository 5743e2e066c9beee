/* api_meta.c - what the service is, and whether it serves. */
#include "schema/op.h"
#include "server/durable.h"
#include "server/api.h"
#include "server/lane.h"
#include "server/workers.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct api_facts api_facts;

static void limits_write(struct text *t)
{
    static const struct {
        const char *name;
        uint64_t value;
    } limits[] = {
        {"ranks", LIMIT_RANKS},
        {"dimensions", LIMIT_NDIM},
        {"json_body_bytes", LIMIT_JSON_BODY_BYTES},
        {"json_depth", LIMIT_JSON_DEPTH},
        {"inline_elements", LIMIT_INLINE_ELEMENTS},
        {"json_elements", LIMIT_JSON_ELEMENTS},
        {"wait_s", LIMIT_WAIT_S},
        {"timeout_s", LIMIT_TIMEOUT_S},
        {"page", LIMIT_PAGE},
        {"label_bytes", LIMIT_LABEL_BYTES},
        {"idempotency_key_bytes", LIMIT_KEY_BYTES},
        {"unfinished_jobs", LIMIT_UNFINISHED_JOBS},
    };
    struct extent_usage u;

    extent_usage(&u);
    text_object(t, "limits");
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        text_uint(t, limits[i].name, limits[i].value);
    text_uint(t, "arena_bytes", u.arena_bytes);
    text_end_object(t);
}

/* What a client needs to know of an operation to ask for it, and to show what it did. */
static void op_write(struct text *t, const struct op *op)
{
    static const char *const parties[] = {[PARTY_EACH] = "all",
                                          [PARTY_ROOT] = "root",
                                          [PARTY_SRC] = "src",
                                          [PARTY_DST] = "dst",
                                          [PARTY_NOBODY] = "none"};
    struct err unused;

    text_object(t, NULL);
    text_string(t, "name", op->name);
    text_string(t, "sentence", op->sentence);
    text_string(t, "gives", parties[op->in]);
    text_string(t, "gets", parties[op->out]);
    text_array(t, "parameters");
    for (const char *const *name = op_parameter_names(op); *name; name++)
        text_string(t, NULL, *name);
    text_end_array(t);
    text_array(t, "dtypes");
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (op_check_dtype(op, (enum dtype)d, &unused) == 0)
            text_string(t, NULL, dtypes[d].name);
    text_end_array(t);
    text_bool(t, "gradient", op->adjoint != OP_none);
    text_end_object(t);
}

static void tables_write(struct text *t)
{
    text_array(t, "ops");
    for (const struct op *op = ops; op < ops + OP_COUNT; op++)
        op_write(t, op);
    text_end_array(t);
    text_array(t, "dtypes");
    for (int d = 0; d < DTYPE_COUNT; d++)
        text_string(t, NULL, dtypes[d].name);
    text_end_array(t);
}

/* What the asker may use, and does. */
static void account_write(struct text *t, const struct visitor *v)
{
    if (!v->account->name[0])
        return;
    text_object(t, "account");
    text_string(t, "name", v->account->name);
    text_string(t, "role", role_name(v->role));
    for (int u = 0; u < USE_COUNT; u++) {
        uint64_t most = atomic_load(&v->account->most[u]);

        text_object(t, account_use_name((enum use)u));
        if (u == USE_keys) /* the database counts them */
            text_null(t, "used");
        else
            text_uint(t, "used", atomic_load(&v->account->used[u]));
        if (most == ACCOUNT_NO_LIMIT)
            text_null(t, "most");
        else
            text_uint(t, "most", most);
        text_end_object(t);
    }
    text_end_object(t);
}

/* Clients look by it whether they have found the same service in another way. */
static const char *instance(char text[ID_TEXT])
{
    return id_format('i', &api_facts.instance, text);
}

int api_v1(struct request *rq, struct err *e)
{
    static const char *const links[][2] = {
        {"workers", "v1/workers"}, {"groups", "v1/groups"},   {"tensors", "v1/tensors"},
        {"jobs", "v1/jobs"},       {"metrics", "v1/metrics"}, {"openapi", "openapi.yaml"},
        {"docs", "docs"},
    };
    struct text *t = &rq->reply.text;
    char id[ID_TEXT];

    (void)e;
    text_object(t, NULL);
    text_string(t, "name", "tutti");
    text_string(t, "version", api_facts.version);
    text_string(t, "backend", strcmp(api_facts.backend, "auto") == 0 ? "shm" : api_facts.backend);
    text_string(t, "instance", instance(id));
    text_uint(t, "uid", geteuid());
    text_string(t, "unix_socket", http_path()[0] ? http_path() : NULL);
    text_uint(t, "world_size", group_world_size());
    text_string(t, "lane", lane_path());
    text_bool(t, "durable", durable);
    text_time(t, "started_at", api_facts.started_us);
    account_write(t, &rq->visitor);
    limits_write(t);
    tables_write(t);
    text_object(t, "links");
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        text_string(t, links[i][0], links[i][1]);
    text_end_object(t);
    text_end_object(t);
    return reply_json(rq, 200);
}

int api_healthz(struct request *rq, struct err *e)
{
    char id[ID_TEXT];

    (void)e;
    reply_header(rq, "Tutti-Instance", "%s", instance(id));
    text_raw(&rq->reply.text, "ok\n", 3);
    return reply_text(rq, 200, "text/plain; charset=utf-8");
}

int api_readyz(struct request *rq, struct err *e)
{
    uint32_t world = group_world_size(), missing = 0;
    struct worker_info *w = calloc(world, sizeof *w);

    if (!w)
        return err_set(e, ERR_no_memory, "the list of workers");
    workers_list(w);
    err_set(e, ERR_not_ready, "some ranks have not joined");
    for (uint32_t r = 0; r < world; r++) {
        if (w[r].state != WORKER_ready && w[r].state != WORKER_busy) {
            missing++;
            err_rank(e, r);
        }
    }
    free(w);
    if (missing > 0)
        return -1;
    text_raw(&rq->reply.text, "ready\n", 6);
    return reply_text(rq, 200, "text/plain; charset=utf-8");
}
