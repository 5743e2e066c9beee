/* api_groups.c - named, ordered lists of ranks. */
#include "schema/clock.h"
#include "server/events.h"
#include "server/api.h"
#include "server/call.h"
#include "server/kv.h"
#include "server/number.h"

#include <stdlib.h>
#include <string.h>

int group_arg(const struct request *rq, char out[LIMIT_FULL_GROUP_BYTES + 1], struct err *e)
{
    const char *name = rq->args[0];
    char account[LIMIT_ACCOUNT_BYTES + 1];

    group_account(name, account);
    if (rq->visitor.role == ROLE_admin && strchr(name, '/') &&
        strlen(name) <= LIMIT_FULL_GROUP_BYTES && account_find(account))
        strcpy(out, name + (name[0] == '/')); /* "/pair": of nobody, before there were tokens */
    else if (strchr(name, '/'))
        out[0] = '\0';
    else
        group_full(rq->visitor.account, name, out);
    if (out[0])
        return 0;
    return err_set(e, ERR_group_unknown, "there is no group called \"%.*s\"",
                   LIMIT_GROUP_NAME_BYTES, name);
}

static void group_write(struct text *t, const struct group *g)
{
    text_object(t, NULL);
    group_name_write(t, "name", g->name);
    text_array(t, "ranks");
    for (uint32_t i = 0; i < g->n; i++)
        text_uint(t, NULL, g->ranks[i]);
    text_end_array(t);
    text_time(t, "created_at", g->created_us);
    text_end_object(t);
}

static int read_ranks(const struct json_span *value, struct group *g, struct err *e)
{
    struct json_span rank;
    size_t pos = 0;

    g->n = 0;
    if (json_kind(value) != JSON_ARRAY) {
        err_set(e, ERR_group_invalid, "ranks is a list of world ranks, as [0, 1]");
        return err_pointer(e, "/ranks");
    }
    while (json_next(value, &pos, &rank)) {
        if (g->n == LIMIT_RANKS || json_kind(&rank) != JSON_NUMBER ||
            number_read(rank.at, rank.len, DTYPE_uint32, &g->ranks[g->n], e) != 0) {
            err_set(e, ERR_group_invalid, "%.*s is no world rank",
                    (int)(rank.len < 40 ? rank.len : 40), rank.at);
            return err_pointer(e, "/ranks/%u", g->n);
        }
        g->n++;
    }
    return group_check_ranks(g->ranks, g->n, e);
}

static int read_name(const struct json_span *value, struct group *g, struct err *e)
{
    if (json_kind(value) != JSON_STRING ||
        json_string(value, g->name, LIMIT_GROUP_NAME_BYTES + 1) < 0 ||
        group_check_name(g->name, strlen(g->name), e) != 0) {
        err_set(e, ERR_group_invalid,
                "a group's name is a letter and then at most %d letters, digits, _ . -",
                LIMIT_GROUP_NAME_BYTES - 1);
        return err_pointer(e, "/name");
    }
    return 0;
}

static int read_group(const struct json_span *doc, struct group *g, struct err *e)
{
    struct json_member m[8];
    uint32_t n;
    bool named = false, listed = false;

    if (json_kind(doc) != JSON_OBJECT)
        return err_set(e, ERR_group_invalid, "the body is {\"name\": ..., \"ranks\": [...]}");
    if (json_members(doc, m, 8, &n, e) != 0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        int rc;

        if (strcmp(m[i].name, "name") == 0) {
            named = true;
            rc = read_name(&m[i].value, g, e);
        } else if (strcmp(m[i].name, "ranks") == 0) {
            listed = true;
            rc = read_ranks(&m[i].value, g, e);
        } else {
            rc = err_set(e, ERR_unknown_parameter, "a group has name and ranks, not %.64s",
                         m[i].name);
        }
        if (rc != 0)
            return -1;
    }
    if (named && listed)
        return 0;
    err_set(e, ERR_missing_parameter, "a group needs a name and ranks");
    return err_pointer(e, named ? "/ranks" : "/name");
}

static int answer(struct request *rq, const struct group *g, int status)
{
    group_write(&rq->reply.text, g);
    if (status == 201)
        reply_header(rq, "Location", "groups/%s", group_short(g->name));
    return reply_json(rq, status);
}

/* ---- changes ---- */

/* Making or forgetting a group. Changes take effect one after the other, each with its commit, so
 * that the table and the database never disagree about a name. */
struct change {
    struct request *rq;
    bool (*begin)(struct change *c); /* core thread; true: it is over, false: after the commit */
    union {
        struct store_msg any;
        struct store_group_insert insert;
        struct store_group_delete delete;
    } op;
    struct core_msg msg;
    struct change *next;
    int rc; /* 0; 1: the group was there; -1 with err */
    struct err err;
    struct group group;
};

/* Core thread's. The first is at work. */
static struct change *changes, **last_change = &changes;

/* The client may be answered, and its change freed, the moment it is resumed. */
static void end_first(void)
{
    struct change *c = changes;

    changes = c->next;
    if (!changes)
        last_change = &changes;
    http_resume(c->rq);
}

static void begin_next(void)
{
    while (changes && changes->begin(changes))
        end_first();
}

static void on_enqueued(struct core_msg *m)
{
    struct change *c = CORE_OWNER(m, struct change, msg);

    c->next = NULL;
    *last_change = c;
    last_change = &c->next;
    if (changes == c)
        begin_next();
}

/* Store thread. */
static void on_stored(struct store_msg *m, const struct err *e)
{
    struct change *c = CORE_OWNER(m, struct change, op.any);

    c->rc = e ? -1 : 0;
    if (e)
        c->err = *e;
    core_post(&c->msg);
}

static struct change *change_new(struct request *rq, struct err *e)
{
    struct change *c = calloc(1, sizeof *c);

    if (!c) {
        err_set(e, ERR_no_memory, "a group");
        return NULL;
    }
    c->rq = rq;
    request_state(rq, c, free);
    return c;
}

static int change_start(struct change *c, bool (*begin)(struct change *c),
                        int (*resume)(struct request *rq, struct err *e))
{
    c->begin = begin;
    c->msg.run = on_enqueued;
    c->rq->resume = resume;
    http_suspend(c->rq, NULL);
    core_post(&c->msg);
    return SUSPENDED;
}

static void on_create_stored(struct core_msg *m)
{
    struct change *c = CORE_OWNER(m, struct change, msg);

    if (c->rc != 0)
        group_remove(c->group.name, NULL);
    else
        events_group(&c->group, false);
    end_first();
    begin_next();
}

/* Into the table first, which knows the limits; nobody is told before the commit. */
static bool begin_create(struct change *c)
{
    c->rc = group_add(&c->group, &c->err);
    if (c->rc != 0)
        return true;
    c->op.insert.group = &c->group;
    c->op.any.done = on_stored;
    c->msg.run = on_create_stored;
    store_group_insert_init(&c->op.insert);
    store_post(&c->op.any);
    return false;
}

static int created(struct request *rq, struct err *e)
{
    struct change *c = rq->state;

    if (c->rc == 0)
        return answer(rq, &c->group, 201);
    if (c->rc > 0 && group_find(c->group.name, strlen(c->group.name), &c->group, e) == 0)
        return answer(rq, &c->group, 200);
    if (c->rc < 0)
        *e = c->err;
    return -1;
}

int api_group_create(struct request *rq, struct err *e)
{
    struct change *c = change_new(rq, e);

    char full[LIMIT_FULL_GROUP_BYTES + 1];

    if (!c || read_group(&rq->body.json, &c->group, e) != 0)
        return -1;
    group_full(rq->visitor.account, c->group.name, full);
    strcpy(c->group.name, full);
    c->group.created_us = clock_wall_us();
    return change_start(c, begin_create, created);
}

int api_group_list(struct request *rq, struct err *e)
{
    uint32_t limit = (uint32_t)params_int(rq->params, PARAM_limit, LIMIT_PAGE_DEFAULT), n;
    const char *after = params_text(rq->params, PARAM_after);
    const struct account *scope = visitor_scope(&rq->visitor);
    char full[LIMIT_FULL_GROUP_BYTES + 1] = "";
    struct text *t = &rq->reply.text;
    struct group *page;

    if (after && (group_check_name(group_short(after), strlen(group_short(after)), e) != 0 ||
                  (scope && strchr(after, '/')) || strlen(after) > LIMIT_FULL_GROUP_BYTES))
        return err_set(e, ERR_bad_cursor, "after is the `next` of the page before");
    if (after && scope)
        group_full(scope, after, full);
    else if (after)
        strcpy(full, after);
    page = malloc((limit + 1) * sizeof *page);
    if (!page)
        return err_set(e, ERR_no_memory, "a page of groups");
    n = group_list(scope, full, page, limit + 1);
    text_object(t, NULL);
    text_array(t, "groups");
    for (uint32_t i = 0; i < n && i < limit; i++)
        group_write(t, &page[i]);
    text_end_array(t);
    if (n > limit)
        text_string(t, "next", scope ? group_short(page[limit - 1].name) : page[limit - 1].name);
    else
        text_null(t, "next");
    text_end_object(t);
    free(page);
    return reply_json(rq, 200);
}

int api_group_get(struct request *rq, struct err *e)
{
    char full[LIMIT_FULL_GROUP_BYTES + 1];
    struct group *g;
    int rc;

    if (group_arg(rq, full, e) != 0)
        return -1;
    g = malloc(sizeof *g);
    if (!g)
        return err_set(e, ERR_no_memory, "a group");
    rc = group_find(full, strlen(full), g, e);
    if (rc == 0)
        rc = answer(rq, g, 200);
    free(g);
    return rc;
}

static void on_delete_stored(struct core_msg *m)
{
    struct change *c = CORE_OWNER(m, struct change, msg);

    if (c->rc == 0)
        c->rc = group_remove(c->group.name, &c->err);
    if (c->rc == 0) {
        call_group_gone(c->group.name);
        kv_group_gone(c->group.name);
        events_group(&c->group, true);
    }
    end_first();
    begin_next();
}

static bool begin_delete(struct change *c)
{
    c->rc = group_find(c->group.name, strlen(c->group.name), &c->group, &c->err);
    if (c->rc != 0)
        return true;
    c->op.delete.name = c->group.name;
    c->op.any.done = on_stored;
    c->msg.run = on_delete_stored;
    store_group_delete_init(&c->op.delete);
    store_post(&c->op.any);
    return false;
}

static int deleted(struct request *rq, struct err *e)
{
    struct change *c = rq->state;

    if (c->rc == 0)
        return reply_empty(rq, 204);
    *e = c->err;
    return -1;
}

int api_group_delete(struct request *rq, struct err *e)
{
    struct change *c = change_new(rq, e);

    char full[LIMIT_FULL_GROUP_BYTES + 1];

    if (!c || group_arg(rq, full, e) != 0 || group_find(full, strlen(full), &c->group, e) != 0)
        return -1;
    if (group_is_world(c->group.name))
        return err_set(e, ERR_group_protected, "world is all ranks and cannot be deleted");
    return change_start(c, begin_delete, deleted);
}
