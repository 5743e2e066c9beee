/* api_groups.c - named, ordered lists of ranks. */
#include "schema/clock.h"
#include "server/api.h"
#include "server/number.h"

#include <stdlib.h>
#include <string.h>

static void group_write(struct text *t, const struct group *g)
{
    text_object(t, NULL);
    text_string(t, "name", g->name);
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
    if (json_kind(value) != JSON_STRING || json_string(value, g->name, sizeof g->name) < 0 ||
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
        reply_header(rq, "Location", "groups/%s", g->name);
    return reply_json(rq, status);
}

static void added(struct store_wait *w)
{
    w->rc = group_add(&w->group, &w->err) < 0 ? -1 : 0;
}

static int created(struct request *rq, struct err *e)
{
    struct store_wait *w = rq->state;

    if (w->rc == 0)
        return answer(rq, &w->group, 201);
    *e = w->err;
    return -1;
}

int api_group_create(struct request *rq, struct err *e)
{
    struct store_wait *w = store_wait_new(rq, e);
    struct group *there;
    int rc = -1;

    if (!w || read_group(&rq->body.json, &w->group, e) != 0)
        return -1;
    there = malloc(sizeof *there);
    if (!there)
        return err_set(e, ERR_no_memory, "a group");
    if (group_find(w->group.name, strlen(w->group.name), there, e) == 0) {
        bool same = there->n == w->group.n &&
                    memcmp(there->ranks, w->group.ranks, there->n * sizeof there->ranks[0]) == 0;

        rc = same ? answer(rq, there, 200)
                  : err_set(e, ERR_group_exists,
                            "%s is there with other ranks; delete it first or take another name",
                            there->name);
        free(there);
        return rc;
    }
    free(there);
    w->group.created_us = clock_wall_us();
    w->op.group_insert.group = &w->group;
    store_group_insert_init(&w->op.group_insert);
    w->core = added;
    store_wait_post(w, created);
    return SUSPENDED;
}

int api_group_list(struct request *rq, struct err *e)
{
    uint32_t limit = (uint32_t)params_int(rq->params, PARAM_limit, LIMIT_PAGE_DEFAULT), n;
    const char *after = params_text(rq->params, PARAM_after);
    struct text *t = &rq->reply.text;
    struct group *page;

    if (after && group_check_name(after, strlen(after), e) != 0)
        return err_set(e, ERR_bad_cursor, "after is the `next` of the page before");
    page = malloc((limit + 1) * sizeof *page);
    if (!page)
        return err_set(e, ERR_no_memory, "a page of groups");
    n = group_list(after ? after : "", page, limit + 1);
    text_object(t, NULL);
    text_array(t, "groups");
    for (uint32_t i = 0; i < n && i < limit; i++)
        group_write(t, &page[i]);
    text_end_array(t);
    text_string(t, "next", n > limit ? page[limit - 1].name : NULL);
    text_end_object(t);
    free(page);
    return reply_json(rq, 200);
}

int api_group_get(struct request *rq, struct err *e)
{
    struct group *g = malloc(sizeof *g);
    int rc;

    if (!g)
        return err_set(e, ERR_no_memory, "a group");
    rc = group_find(rq->args[0], strlen(rq->args[0]), g, e);
    if (rc == 0)
        rc = answer(rq, g, 200);
    free(g);
    return rc;
}

static void removed(struct store_wait *w)
{
    w->rc = group_remove(w->group.name, &w->err);
}

static int deleted(struct request *rq, struct err *e)
{
    struct store_wait *w = rq->state;

    if (w->rc == 0)
        return reply_empty(rq, 204);
    *e = w->err;
    return -1;
}

int api_group_delete(struct request *rq, struct err *e)
{
    struct store_wait *w = store_wait_new(rq, e);

    if (!w || group_find(rq->args[0], strlen(rq->args[0]), &w->group, e) != 0)
        return -1;
    if (strcmp(w->group.name, "world") == 0)
        return err_set(e, ERR_group_protected, "world is all ranks and cannot be deleted");
    w->op.group_delete.name = w->group.name;
    store_group_delete_init(&w->op.group_delete);
    w->core = removed;
    store_wait_post(w, deleted);
    return SUSPENDED;
}
