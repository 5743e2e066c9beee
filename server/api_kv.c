/* api_kv.c - JSON values that ranks of a group leave for each other under keys. */
#include "schema/clock.h"
#include "schema/log.h"
#include "server/api.h"
#include "server/group.h"
#include "server/kv.h"
#include "server/store_kv.h"

#include <stdlib.h>
#include <string.h>

struct kv_request {
    struct request *rq;
    char group[LIMIT_FULL_GROUP_BYTES + 1], key[LIMIT_KV_KEY_BYTES + 1];
    struct kv_wait wait;
    uint64_t deadline_us, seen;
    uint64_t group_us;   /* as in kv_condition, */
    struct id *versions; /* and these */
    uint32_t n_versions;
    struct store_kv_put put;
    struct store_kv_take take;
    struct core_msg msg;
    int rc;
    struct err err;
};

static void request_free(struct kv_request *k)
{
    free(k->take.value.text);
    free(k->versions);
    free(k);
}

/* ---- a value that was taken, and whose taker is gone ---- */

static void wake_next(struct core_msg *m)
{
    struct kv_request *k = CORE_OWNER(m, struct kv_request, msg);

    kv_wake(k->group, k->key);
    request_free(k);
}

/* Store thread. Not where there is another value by now, or no group. */
static void put_back_done(struct store_msg *m, const struct err *e)
{
    struct kv_request *k = CORE_OWNER(m, struct kv_request, put.msg);

    if (!e) {
        kv_committed();
        k->msg.run = wake_next;
        core_post(&k->msg);
        return;
    }
    if (e->code != ERR_precondition_failed && e->code != ERR_group_unknown)
        log_error(
            "group=%s key=%s: its value was taken by a client that is gone, and cannot be put "
            "back: %s",
            k->group, k->key, e->detail);
    request_free(k);
}

/* As it was: the same ETag, and no longer than it had. Takes k, which outlives its request. */
static void put_back(struct kv_request *k)
{
    const struct kv_value *v = &k->take.value;

    k->put = (struct store_kv_put){
        .group = k->group,
        .key = k->key,
        .text = v->text,
        .len = v->len,
        .when = {.match = KV_ABSENT, .now_us = clock_wall_us(), .group_us = k->group_us},
        .expires_us = v->expires_us,
        .version = v->version,
        .back = true};
    k->put.msg.done = put_back_done;
    store_kv_put_init(&k->put);
    store_post(&k->put.msg);
}

/* A taken value that is still here was not given: the client hung up while it was taken. */
static void state_free(void *state)
{
    struct kv_request *k = state;

    if (k->take.value.text && k->take.value.expires_us > clock_wall_us())
        put_back(k);
    else
        request_free(k);
}

/* ---- the question ---- */

/* full gets its name. */
static int find_group(const struct request *rq, char full[LIMIT_FULL_GROUP_BYTES + 1],
                      uint64_t *made_us, struct err *e)
{
    struct group *g;
    int rc;

    if (group_arg(rq, full, e) != 0)
        return -1;
    g = malloc(sizeof *g);
    rc = g ? group_find(full, strlen(full), g, e) : err_set(e, ERR_no_memory, "a group");
    if (rc == 0)
        *made_us = g->created_us;
    free(g);
    return rc;
}

/* Is it there still, and not another of its name? */
static int check_group(const struct kv_request *k, struct err *e)
{
    char full[LIMIT_FULL_GROUP_BYTES + 1];
    uint64_t made_us;

    if (find_group(k->rq, full, &made_us, e) != 0)
        return -1;
    if (made_us == k->group_us)
        return 0;
    return err_set(e, ERR_group_unknown, "the group \"%s\" was deleted meanwhile", k->rq->args[0]);
}

static int check_key(const char *key, bool may_be_empty, struct err *e)
{
    size_t len = strlen(key), good = 0;

    while (key[good] > 0x20 && key[good] < 0x7f)
        good++;
    if (good == len && (len > 0 || may_be_empty) && len <= LIMIT_KV_KEY_BYTES)
        return 0;
    return err_set(e, ERR_key_invalid, "a key is 1 to %d printable ASCII characters, no space",
                   LIMIT_KV_KEY_BYTES);
}

static int bad_match(struct err *e)
{
    return err_set(e, ERR_bad_header, "If-Match is *, or ETags of values: \"v_...\", \"v_...\"");
}

/* A list of entity-tags, as RFC 9110 has it. One that is weak or not of our making is allowed, and
 * is no value's. */
static int read_tags(struct kv_request *k, const char *at, struct err *e)
{
    bool any = false;

    k->versions = malloc((strlen(at) / 3 + 1) * sizeof *k->versions); /* "","" has two */
    if (!k->versions)
        return err_set(e, ERR_no_memory, "a list of ETags");
    while (*(at += strspn(at, ", \t"))) {
        bool weak = strncmp(at, "W/", 2) == 0;
        const char *tag = at + (weak ? 3 : 1);
        size_t len;

        if (tag[-1] != '"')
            return bad_match(e);
        len = strcspn(tag, "\"");
        if (tag[len] != '"')
            return bad_match(e);
        at = tag + len + 1;
        at += strspn(at, " \t");
        if (*at && *at != ',')
            return bad_match(e);
        any = true;
        if (!weak && id_parse('v', tag, len, &k->versions[k->n_versions]) == 0)
            k->n_versions++;
    }
    return any ? 0 : bad_match(e);
}

static int read_condition(struct kv_request *k, struct kv_condition *when, struct err *e)
{
    const char *is = request_header(k->rq, "If-Match");
    const char *none = request_header(k->rq, "If-None-Match");

    *when = (struct kv_condition){
        .match = KV_ANY, .now_us = clock_wall_us(), .group_us = k->group_us};
    if (none && (is || strcmp(none, "*") != 0))
        return err_set(e, ERR_bad_header, "If-None-Match is *, and without If-Match");
    if (none)
        when->match = KV_ABSENT;
    if (!is)
        return 0;
    when->match = strcmp(is, "*") == 0 ? KV_THERE : KV_IS;
    if (when->match == KV_IS && read_tags(k, is, e) != 0)
        return -1;
    when->versions = k->versions;
    when->n_versions = k->n_versions;
    return 0;
}

static struct kv_request *begin(struct request *rq, struct err *e)
{
    char full[LIMIT_FULL_GROUP_BYTES + 1];
    struct kv_request *k;
    uint64_t group_us;

    if (find_group(rq, full, &group_us, e) != 0 || check_key(rq->args[1], false, e) != 0)
        return NULL;
    k = calloc(1, sizeof *k);
    if (!k) {
        err_set(e, ERR_no_memory, "a request");
        return NULL;
    }
    k->rq = rq;
    strcpy(k->group, full);
    memccpy(k->key, rq->args[1], 0, sizeof k->key); /* it was found to fit */
    k->group_us = group_us;
    k->deadline_us = clock_us() + params_us(rq->params, PARAM_wait, 0);
    request_state(rq, k, state_free);
    return k;
}

/* ---- the answer ---- */

static void etag(struct request *rq, const struct id *version)
{
    char id[ID_TEXT];

    reply_header(rq, "ETag", "\"%s\"", id_format('v', version, id));
}

static int value_reply(struct request *rq, const struct kv_value *v)
{
    etag(rq, &v->version);
    text_raw(&rq->reply.text, v->text, v->len);
    return reply_json(rq, 200);
}

/* ---- waiting ---- */

static void woken(struct kv_wait *w)
{
    http_resume(CORE_OWNER(w, struct kv_request, wait)->rq);
}

static void client_gone(struct request *rq)
{
    kv_wait_drop(&((struct kv_request *)rq->state)->wait);
}

static int no_value(const struct request *rq, struct err *e)
{
    uint64_t wait_us = params_us(rq->params, PARAM_wait, 0);

    if (wait_us > 0)
        return err_set(e, ERR_key_unknown, "the key %s got no value within the %.6g s of wait",
                       rq->args[1], (double)wait_us / 1e6);
    return err_set(e, ERR_key_unknown, "the key %s has no value; to wait for one, add ?wait=60",
                   rq->args[1]);
}

/* There is no value yet: waits, and then `again`; or the time is over. */
static int wait_for(struct kv_request *k, int (*again)(struct request *, struct err *),
                    struct err *e)
{
    struct request *rq = k->rq;

    if (k->deadline_us <= clock_us())
        return no_value(rq, e);
    if (kv_draining())
        return err_set(e, ERR_draining, "the service stops before the key has a value");
    if (http_take_wait(rq, e) != 0)
        return -1;
    k->wait = (struct kv_wait){.wake = woken,
                               .group = k->group,
                               .key = k->key,
                               .seen = k->seen,
                               .deadline_us = k->deadline_us};
    rq->resume = again;
    http_suspend(rq, client_gone);
    kv_wait(&k->wait);
    return SUSPENDED;
}

/* ---- GET ---- */

static int look(struct request *rq, struct err *e)
{
    struct kv_request *k = rq->state;
    struct kv_value v = {.text = NULL};
    int rc;

    k->seen = kv_generation();
    rc = store_kv_read(k->group, k->key, clock_wall_us(), &v, e);
    if (rc >= 0 &&
        check_group(k, e) != 0) /* after the read: what was read may be another group's */
        rc = -1;
    if (rc > 0)
        return wait_for(k, look, e);
    if (rc == 0)
        rc = value_reply(rq, &v);
    free(v.text);
    return rc;
}

int api_kv_get(struct request *rq, struct err *e)
{
    return begin(rq, e) ? look(rq, e) : -1;
}

/* ---- PUT ---- */

static void on_core(struct core_msg *m)
{
    struct kv_request *k = CORE_OWNER(m, struct kv_request, msg);

    kv_wake(k->group, k->key);
    http_resume(k->rq);
}

/* Store thread. */
static void put_done(struct store_msg *m, const struct err *e)
{
    struct kv_request *k = CORE_OWNER(m, struct kv_request, put.msg);

    k->rc = e ? -1 : 0;
    if (e) {
        k->err = *e;
        http_resume(k->rq);
        return;
    }
    kv_committed();
    k->msg.run = on_core;
    core_post(&k->msg);
}

static int stored(struct request *rq, struct err *e)
{
    struct kv_request *k = rq->state;

    if (k->rc != 0) {
        *e = k->err;
        return -1;
    }
    etag(rq, &k->put.version);
    return reply_empty(rq, k->put.created ? 201 : 204);
}

int api_kv_put(struct request *rq, struct err *e)
{
    struct kv_request *k = begin(rq, e);
    uint64_t ttl_us = params_us(rq->params, PARAM_ttl, 0);

    if (!k)
        return -1;
    if (!rq->has_body)
        return err_set(e, ERR_empty_body, "the body is the value, as JSON");
    if (read_condition(k, &k->put.when, e) != 0)
        return -1;
    k->put.group = k->group;
    k->put.key = k->key;
    k->put.text = rq->body.json.at;
    k->put.len = rq->body.json.len;
    k->put.version = id_new();
    k->put.expires_us = ttl_us ? k->put.when.now_us + ttl_us : UINT64_MAX;
    k->put.msg.done = put_done;
    store_kv_put_init(&k->put);
    rq->resume = stored;
    http_suspend(rq, NULL);
    store_post(&k->put.msg);
    return SUSPENDED;
}

/* ---- DELETE ---- */

static int taken(struct request *rq, struct err *e);

static void take_done(struct store_msg *m, const struct err *e)
{
    struct kv_request *k = CORE_OWNER(m, struct kv_request, take.msg);

    k->rc = e ? -1 : 0;
    if (e) {
        k->err = *e;
        free(k->take.value.text); /* it is there still */
        k->take.value.text = NULL;
    }
    http_resume(k->rq);
}

static int take(struct request *rq, struct err *e)
{
    struct kv_request *k = rq->state;

    (void)e;
    k->seen = kv_generation();
    k->take.when.now_us = clock_wall_us();
    rq->resume = taken;
    http_suspend(rq, NULL);
    store_post(&k->take.msg);
    return SUSPENDED;
}

static int taken(struct request *rq, struct err *e)
{
    struct kv_request *k = rq->state;
    int rc;

    if (k->rc == 0) {
        rc = value_reply(rq, &k->take.value);
        free(k->take.value.text);
        k->take.value.text = NULL;
        return rc;
    }
    if (k->err.code == ERR_key_unknown)
        return wait_for(k, take, e);
    *e = k->err;
    return -1;
}

int api_kv_delete(struct request *rq, struct err *e)
{
    struct kv_request *k = begin(rq, e);

    if (!k || read_condition(k, &k->take.when, e) != 0)
        return -1;
    k->take.group = k->group;
    k->take.key = k->key;
    k->take.msg.done = take_done;
    store_kv_take_init(&k->take);
    return take(rq, e);
}

/* ---- list ---- */

static void row_write(struct text *t, const struct kv_row *row)
{
    char id[ID_TEXT];

    text_object(t, NULL);
    text_string(t, "key", row->key);
    text_string(t, "version", id_format('v', &row->version, id));
    text_uint(t, "size_bytes", row->size_bytes);
    if (row->expires_us == UINT64_MAX)
        text_null(t, "expires_at");
    else
        text_time(t, "expires_at", row->expires_us);
    text_end_object(t);
}

int api_kv_list(struct request *rq, struct err *e)
{
    uint32_t limit = (uint32_t)params_int(rq->params, PARAM_limit, LIMIT_PAGE_DEFAULT), n;
    const char *prefix = params_text(rq->params, PARAM_prefix);
    const char *after = params_text(rq->params, PARAM_after);
    struct text *t = &rq->reply.text;
    char full[LIMIT_FULL_GROUP_BYTES + 1];
    struct kv_row *page;
    uint64_t group_us;

    prefix = prefix ? prefix : "";
    after = after ? after : "";
    if (find_group(rq, full, &group_us, e) != 0 || check_key(prefix, true, e) != 0 ||
        check_key(after, true, e) != 0)
        return -1;
    page = malloc((limit + 1) * sizeof *page);
    if (!page)
        return err_set(e, ERR_no_memory, "a page of keys");
    if (store_kv_list(full, prefix, after, clock_wall_us(), page, limit + 1, &n, e) != 0) {
        free(page);
        return -1;
    }
    text_object(t, NULL);
    text_array(t, "keys");
    for (uint32_t i = 0; i < n && i < limit; i++)
        row_write(t, &page[i]);
    text_end_array(t);
    text_string(t, "next", n > limit ? page[limit - 1].key : NULL);
    text_end_object(t);
    free(page);
    return reply_json(rq, 200);
}
