/* params.h - query and JSON members to typed values, over schema/params.def. Any thread. */
#ifndef TUTTI_SERVER_PARAMS_H
#define TUTTI_SERVER_PARAMS_H

#include "schema/dtype.h"
#include "schema/error.h"
#include "schema/limits.h"
#include "schema/op.h"
#include "schema/shape.h"
#include "server/id.h"
#include "server/json.h"

#include <stdbool.h>
#include <stdint.h>

enum param_id {
#define PARAM(name, type, where, min, max, deflt, sentence) PARAM_##name,
#include "schema/params.def"
#undef PARAM
    PARAM_COUNT
};

/* What a parameter is; the `type` column. */
enum param_type {
    TYPE_INT,
    TYPE_FLAG,
    TYPE_SECONDS,
    TYPE_TEXT,
    TYPE_DTYPE,
    TYPE_SHAPE,
    TYPE_GROUP,
    TYPE_JOBS
};

/* Which routes take a parameter; the `where` column. */
enum param_where {
    WHERE_JOB = 1,
    WHERE_TENSOR = 2,
    WHERE_READ_JOB = 4,
    WHERE_LIST_JOBS = 8,
    WHERE_LIST = 16,
    WHERE_READ_TENSOR = 32,
    WHERE_OUTPUT = 64,
    WHERE_CALL = 128,
    WHERE_BARRIER = 256,
    WHERE_BACKWARD = 512,
    WHERE_KV = 1024,
    WHERE_PUT_KV = 2048,
    WHERE_LIST_KV = 4096,
    WHERE_BATCH = 8192,
    WHERE_LINE = 16384,
    WHERE_TRACE = 32768
};

struct params_group {
    char name[LIMIT_GROUP_NAME_BYTES + 1]; /* "" when a list was given */
    uint32_t n;
    uint32_t ranks[LIMIT_RANKS];
};

struct params {
    uint64_t has;                /* 1 << PARAM_x */
    int64_t number[PARAM_COUNT]; /* INT, FLAG */
    uint64_t us[PARAM_COUNT];    /* SECONDS, in microseconds */
    char text[PARAM_COUNT][260]; /* TEXT */
    enum dtype dtype;
    struct shape shape;
    struct params_group group;
    uint32_t n_jobs; /* JOBS */
    struct id jobs[LIMIT_TRACE_JOBS];
    char from_query_text[PARAM_COUNT][64]; /* as written, to find contradictions */
};

/* Zeroes it (large: a few tens of KiB; keep it on the heap). */
void params_init(struct params *p);

bool params_has(const struct params *p, enum param_id id);

/* Do routes of `where` take it? */
bool params_taken(unsigned where, enum param_id id);

/* One name=value of the query, decoded. Returns 0, or -1 with ERR_unknown_parameter (suggesting the
 * nearest name), ERR_conflicting_parameter (given twice), ERR_bad_parameter (not of its type),
 * ERR_parameter_range, and so on. */
int params_from_query(struct params *p, unsigned where, const char *name, const char *value,
                      struct err *e);

/* One member of a JSON body, a json_check'd span. The same parameter in the query with the same
 * value is fine, with another value ERR_conflicting_parameter. Sets a pointer. */
int params_from_json(struct params *p, unsigned where, const struct json_member *m, struct err *e);

/* The value, or the default the API states. */
int64_t params_int(const struct params *p, enum param_id id, int64_t fallback);
uint64_t params_us(const struct params *p, enum param_id id, uint64_t fallback_us);
const char *params_text(const struct params *p, enum param_id id); /* NULL when absent */

/* The operation that op names, NULL when it is absent. Returns 0, or -1 with ERR_op_unknown, which
 * suggests the nearest. */
int params_op(const struct params *p, const struct op **out, struct err *e);

/* The table, for --print-tables: "param op TEXT query,body ..." a line. */
void params_print_table(void);

/* " op group ...": the names that routes of `where` take. */
void params_print_taken(unsigned where);

#endif
