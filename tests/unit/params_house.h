/* params_house.h - params.def's rows, and parameters that come one by one; for the tests of
 * params.c. */
#ifndef TUTTI_TESTS_PARAMS_HOUSE_H
#define TUTTI_TESTS_PARAMS_HOUSE_H

#include "tests/unit/unit.h"

#include "server/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOB WHERE_JOB
#define TENSOR WHERE_TENSOR
#define READ_JOB WHERE_READ_JOB
#define LIST_JOBS WHERE_LIST_JOBS
#define LIST WHERE_LIST
#define READ_TENSOR WHERE_READ_TENSOR
#define OUTPUT WHERE_OUTPUT
#define CALL WHERE_CALL
#define BARRIER WHERE_BARRIER
#define BACKWARD WHERE_BACKWARD
#define KV WHERE_KV
#define PUT_KV WHERE_PUT_KV
#define LIST_KV WHERE_LIST_KV
#define BATCH WHERE_BATCH
#define LINE WHERE_LINE
#define TRACE WHERE_TRACE
static const struct {
    const char *name;
    enum param_type type;
    unsigned where;
    long long min, max;
} rows[PARAM_COUNT] = {
#define PARAM(name, type, where, min, max, deflt, sentence) \
    [PARAM_##name] = {#name, TYPE_##type, where, min, max},
#include "schema/params.def"
#undef PARAM
};

#define ALL_WHERE                                                                         \
    (JOB | TENSOR | READ_JOB | LIST_JOBS | LIST | READ_TENSOR | OUTPUT | CALL | BARRIER | \
     BACKWARD | KV | PUT_KV | LIST_KV | BATCH | LINE | TRACE)

static struct params *p;
static struct err e;

static inline int setup(void **state)
{
    (void)state;
    p = malloc(sizeof *p);
    if (!p)
        return -1;
    params_init(p);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    free(p);
    return 0;
}

static inline void clear(void)
{
    params_init(p);
    e = (struct err){0};
}

/* ---- in the query ---- */

static inline enum err_code query_on(unsigned where, const char *name, const char *value)
{
    e = (struct err){0};
    return params_from_query(p, where, name, value, &e) == 0 ? ERR_none : e.code;
}

static inline enum err_code query(const char *name, const char *value)
{
    return query_on(ALL_WHERE, name, value);
}

/* On fresh parameters. */
static inline enum err_code alone(const char *name, const char *value)
{
    clear();
    return query(name, value);
}

static inline enum err_code alone_number(const char *name, long long value)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", value);
    return alone(name, text);
}

/* A value that the row takes. */
static inline const char *good_value(int id)
{
    static char number[32];

    snprintf(number, sizeof number, "%lld", rows[id].max);
    switch (rows[id].type) {
    case TYPE_INT:
    case TYPE_SECONDS:
        return number;
    case TYPE_FLAG:
        return "true";
    case TYPE_DTYPE:
        return "int8";
    case TYPE_SHAPE:
        return "2,3";
    case TYPE_JOBS:
        return "j_01ARZ3NDEKTSV4RRFFQ69G5FAV,j_01ARZ3NDEKTSV4RRFFQ69G5FAW";
    default:
        return "word";
    }
}

/* ---- as a member ---- */

static inline enum err_code member(const char *name, const char *json)
{
    struct json_member m = {0};

    e = (struct err){0};
    snprintf(m.name, sizeof m.name, "%s", name);
    if (json_check(json, strlen(json), &m.value, &e) != 0)
        fail_msg("%s: %s", json, e.detail);
    return params_from_json(p, JOB | TENSOR, &m, &e) == 0 ? ERR_none : e.code;
}

static inline enum err_code alone_member(const char *name, const char *json)
{
    clear();
    return member(name, json);
}

#endif
