/* store_recover.c - what the main thread asks before the writer runs: facts, and every row that
 * must come back to memory. */
#include "server/store_internal.h"

#include "schema/failpoint.h"
#include "server/promise.h"

#include <stdlib.h>
#include <string.h>

/* ---- the arena's nonce ---- */

/* The bits of a nonce as SQLite's signed integer. 0 when there is none. */
static int read_nonce(uint64_t *out, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_meta_get, e);
    int rc;

    if (!s)
        return -1;
    bind_text(s, 1, "arena_nonce");
    rc = db_step(db, s, e);
    if (rc < 0)
        return -1;
    *out = rc == 1 ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return 0;
}

uint64_t store_arena_nonce(void)
{
    uint64_t nonce = 0;

    /* One that cannot be read is none: the arena is made anew, and what was in it is lost. */
    return read_nonce(&nonce, NULL) == 0 ? nonce : 0;
}

static int run(enum stmt_id id, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, id, e);

    return s ? db_run(db, s, e) : -1;
}

static int write_nonce(uint64_t nonce, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_meta_set, e);

    if (!s)
        return -1;
    bind_text(s, 1, "arena_nonce");
    sqlite3_bind_int64(s, 2, (int64_t)nonce);
    return db_run(db, s, e);
}

/* lost: tensors. nonce: NULL leaves it. */
static int lose_all(const uint64_t *nonce, uint64_t *lost, struct err *e)
{
    struct db *db = store_writer();

    if (run(STMT_begin, e) != 0)
        return -1;
    if (run(STMT_tensor_lose, e) != 0)
        goto fail;
    *lost = (uint64_t)sqlite3_changes64(db->sql);
    if (run(STMT_job_lose, e) != 0 || (nonce && write_nonce(*nonce, e) != 0) ||
        run(STMT_commit, e) != 0)
        goto fail;
    return 0;
fail:
    if (!sqlite3_get_autocommit(db->sql))
        run(STMT_rollback, NULL);
    return -1;
}

int store_set_arena_nonce(uint64_t nonce, struct err *e)
{
    uint64_t now, lost;

    if (read_nonce(&now, e) != 0)
        return -1;
    return now == nonce ? 0 : lose_all(&nonce, &lost, e);
}

int store_lose_tensors(uint64_t *n, struct err *e)
{
    return lose_all(NULL, n, e);
}

/* ---- rows ---- */

/* A tensor at its old place. Without an extent when that cannot be adopted, or is known to be lost.
 */
static struct tensor *place_tensor(enum dtype d, const struct shape *shape, const struct id *id,
                                   uint64_t extent_at, uint64_t extent_bytes, uint64_t offset,
                                   bool lost)
{
    struct extent *x = NULL;
    struct tensor *t;

    if (!lost && extent_adopt(extent_at, extent_bytes, &x, NULL) != 0)
        x = NULL;
    t = tensor_new(d, shape, x, offset);
    extent_unref(x); /* the tensor has its own reference */
    if (t)
        t->id = *id;
    return t;
}

static bool lies_inside(enum dtype d, const struct shape *shape, uint64_t offset,
                        uint64_t extent_bytes)
{
    uint64_t bytes = shape_count(shape) * dtypes[d].size_bytes;

    return offset <= extent_bytes && bytes <= extent_bytes - offset;
}

static int tensor_from_row(sqlite3_stmt *s, struct tensor **out, struct err *e)
{
    uint64_t at = column_u64(s, 3), bytes = column_u64(s, 4), offset = column_u64(s, 5);
    struct id id, job;
    char owner[LIMIT_ACCOUNT_BYTES + 1];
    enum dtype d;
    struct shape shape;
    struct tensor *t;

    if (column_text(s, 10, owner, sizeof owner) != 0 || column_id(s, 0, &id) != 0 ||
        column_dtype(s, 1, &d) != 0 || column_shape(s, 2, d, &shape) != 0 ||
        column_id(s, 6, &job) != 0 || !lies_inside(d, &shape, offset, bytes))
        return store_damaged("a tensor", e);
    t = place_tensor(d, &shape, &id, at, bytes, offset, column_u64(s, 9) != 0);
    if (!t)
        return err_set(e, ERR_no_memory, "a tensor");
    t->job = job;
    t->owner = account_get(owner);
    if (!t->owner) {
        tensor_unref(t);
        return err_set(e, ERR_no_memory, "an account");
    }
    extent_charge(t->extent, t->owner);
    t->created_us = column_u64(s, 7);
    t->expires_us = column_u64(s, 8);
    *out = t;
    return 0;
}

static int recover_tensors(const struct store_recovery *r, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_tensor_all, e);
    struct tensor *t = NULL;
    int rc;

    if (!s)
        return -1;
    while ((rc = db_step(db, s, e)) == 1) {
        failpoint("recover.tensors");
        if (tensor_from_row(s, &t, e) != 0 || r->tensor(r->arg, t, e) != 0) {
            sqlite3_reset(s);
            return -1;
        }
    }
    return rc;
}

static int recover_groups(const struct store_recovery *r, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_group_all, e);
    struct group g;
    int rc;

    if (!s)
        return -1;
    while ((rc = db_step(db, s, e)) == 1) {
        failpoint("recover.groups");
        if (column_text(s, 0, g.name, sizeof g.name) != 0 ||
            column_ranks(s, 1, g.ranks, LIMIT_RANKS, &g.n) != 0)
            rc = store_damaged("a group", e);
        g.created_us = column_u64(s, 2);
        if (rc < 0 || r->group(r->arg, &g, e) != 0) {
            sqlite3_reset(s);
            return -1;
        }
    }
    return rc;
}

/* ---- unfinished jobs ---- */

static void drop_inputs(struct tensor **inputs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        tensor_unref(inputs[i]);
    free(inputs);
}

/* One rank's input: the published tensor where there is one, so that retention sees that it is
 * held. Returns 0 with NULL for a rank that gives nothing; *lost when the bytes cannot be had. */
static int input_from_blob(const uint8_t *in, enum dtype d, const struct shape *shape,
                           struct tensor **out, bool *lost, struct err *e)
{
    uint64_t at = get_u64(in + 16), bytes = get_u64(in + 24), offset = get_u64(in + 32);
    struct id id;
    struct tensor *t;

    memcpy(id.b, in, sizeof id.b);
    *out = NULL;
    if (id_is_zero(&id))
        return 0;
    if (at == PROMISED) {
        *out = promise_new(&id, (uint32_t)bytes, d, shape);
        return *out ? 0 : err_set(e, ERR_no_memory, "a job's input");
    }
    if (!lies_inside(d, shape, offset, bytes))
        return store_damaged("a job's input", e);
    t = tensor_find(&id);
    if (!t)
        t = place_tensor(d, shape, &id, at, bytes, offset, at == NO_EXTENT);
    if (!t)
        return err_set(e, ERR_no_memory, "a job's input");
    if (t->dtype != d || !shape_equal(&t->shape, shape)) {
        tensor_unref(t);
        return store_damaged("a job's input", e);
    }
    *lost = *lost || (!t->extent && t->size_bytes > 0);
    *out = t;
    return 0;
}

/* inputs is NULL when they are lost. */
static int inputs_from_row(sqlite3_stmt *s, const struct job_record *r, struct tensor ***inputs,
                           struct err *e)
{
    const uint8_t *blob = sqlite3_column_blob(s, JOB_INPUTS_COLUMN);
    uint32_t n = record_needs(r);
    struct tensor **made;
    bool lost = false;

    *inputs = NULL;
    if (!blob)
        return 0;
    if ((size_t)sqlite3_column_bytes(s, JOB_INPUTS_COLUMN) != (size_t)INPUT_BYTES * n)
        return store_damaged("a job's inputs", e);
    made = calloc(n, sizeof *made);
    if (!made)
        return err_set(e, ERR_no_memory, "a job's inputs");
    for (uint32_t i = 0; i < n; i++) {
        if (input_from_blob(blob + INPUT_BYTES * i, r->dtype, record_need_shape(r, i), &made[i],
                            &lost, e) != 0) {
            drop_inputs(made, n);
            return -1;
        }
        extent_charge(made[i] ? made[i]->extent : NULL, r->owner);
    }
    if (lost)
        drop_inputs(made, n);
    else
        *inputs = made;
    return 0;
}

/* What is to run was checked when it came, and its ranks will read and write by it: a row that says
 * something else by now must not run. */
static bool may_run(const struct job_record *r)
{
    struct shape out;

    return r->stream <= LIMIT_STREAM && r->priority >= -LIMIT_PRIORITY &&
           r->priority <= LIMIT_PRIORITY && r->timeout_us <= LIMIT_TIMEOUT_S * 1000000ull &&
           op_check_dtype(r->op, r->dtype, NULL) == 0 &&
           op_check_peers(r->op, &r->params, r->n, NULL) == 0 &&
           op_out_shape(r->op, &r->params, r->n, &r->in_shape, &out, NULL) == 0 &&
           shape_equal(&out, &r->out_shape);
}

/* It has no end yet, and nothing that comes with one. */
static int check_job(const struct job_record *r, bool runs, struct err *e)
{
    if (!r->error && !r->outputs && !r->kept && (!runs || may_run(r)))
        return 0;
    return store_damaged("a job", e);
}

static int recover_job(const struct store_recovery *r, sqlite3_stmt *s, struct err *e)
{
    struct job_record *record;
    struct tensor **inputs;

    if (job_from_row(s, &record, e) != 0)
        return -1;
    if (inputs_from_row(s, record, &inputs, e) != 0) {
        record_free(record);
        return -1;
    }
    if (check_job(record, inputs != NULL, e) != 0) {
        if (inputs)
            drop_inputs(inputs, record_needs(record));
        record_free(record);
        return -1;
    }
    return r->job(r->arg, record, inputs, !inputs, e);
}

static int recover_jobs(const struct store_recovery *r, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_job_unfinished, e);
    int rc;

    if (!s)
        return -1;
    while ((rc = db_step(db, s, e)) == 1) {
        failpoint("recover.jobs");
        if (recover_job(r, s, e) != 0) {
            sqlite3_reset(s);
            return -1;
        }
    }
    return rc;
}

/* New ids sort behind those that are there, also when the clock has been set back since. */
static int pass_ids(struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_id_last, e);
    struct id id;

    if (!s || db_step(db, s, e) < 0)
        return -1;
    if (sqlite3_column_bytes(s, 0) == sizeof id.b) {
        memcpy(id.b, sqlite3_column_blob(s, 0), sizeof id.b);
        id_pass(&id);
    }
    sqlite3_reset(s);
    return 0;
}

int store_recover(const struct store_recovery *r, struct err *e)
{
    struct err why = {0};

    if (pass_ids(&why) == 0 && recover_groups(r, &why) == 0 && recover_tensors(r, &why) == 0 &&
        recover_jobs(r, &why) == 0 && late_recover(r, &why) == 0)
        return 0;
    return err_set(e, why.code, "%s: %.250s; look at it with: sqlite3 -readonly %s .dump",
                   store_path(), why.detail, store_path());
}
