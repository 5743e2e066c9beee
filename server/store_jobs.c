/* store_jobs.c - what happens to a job's row: inserted, tried, finished, deleted. */
#include "server/store_internal.h"

#include "schema/log.h"
#include "server/durable.h"
#include "server/promise.h"

#include <stdlib.h>
#include <string.h>

/* One rank's part of `inputs`: enough to find the bytes again after a restart. */
static void put_input(uint8_t *out, const struct tensor *t)
{
    const struct extent *x = t ? tensor_kept_extent(t) : NULL;

    memset(out, 0, INPUT_BYTES);
    if (!t)
        return;
    if (t->promise) {
        memcpy(out, t->promise->job.b, sizeof t->promise->job.b);
        put_u64(out + 16, PROMISED);
        put_u64(out + 24, t->promise->rank);
        return;
    }
    memcpy(out, t->id.b, sizeof t->id.b);
    put_u64(out + 16, x ? extent_offset(x) : NO_EXTENT);
    put_u64(out + 24, x ? extent_size(x) : t->size_bytes);
    put_u64(out + 32, x ? t->offset : 0);
}

/* Bytes that are bound until the statement has run. Of the one writing thread. */
static struct {
    uint8_t ranks[4 * LIMIT_RANKS];
    uint8_t shapes[2][8 * LIMIT_NDIM];
    uint8_t tensors[INPUT_BYTES * 2 * LIMIT_RANKS];
    uint8_t kept[16 * LIMIT_RANKS];
    uint8_t times[16 * LIMIT_RANKS];
} scratch;

static void bind_shape(sqlite3_stmt *s, int at, const struct shape *shape, uint8_t *bytes)
{
    bind_blob(s, at, bytes, shape_to_blob(shape, bytes));
}

static void bind_job(sqlite3_stmt *s, const struct job_record *r)
{
    bind_id(s, 1, &r->id);
    bind_text(s, 2, r->op->name);
    bind_text(s, 3, r->group);
    bind_blob(s, 4, scratch.ranks, ranks_to_blob(r->ranks, r->n, scratch.ranks));
    sqlite3_bind_int64(s, 5, r->params.split_axis);
    sqlite3_bind_int64(s, 6, r->params.concat_axis);
    bind_u64(s, 7, r->params.src);
    bind_u64(s, 8, r->params.dst);
    bind_text(s, 9, dtypes[r->dtype].name);
    bind_shape(s, 10, &r->in_shape, scratch.shapes[0]);
    bind_shape(s, 11, &r->out_shape, scratch.shapes[1]);
    sqlite3_bind_int(s, 12, r->priority);
    bind_u64(s, 13, r->stream);
    bind_u64(s, 14, r->timeout_us);
    bind_text(s, 15, r->label);
    bind_u64(s, 16, r->attempts);
    bind_u64(s, 17, r->received_us);
    bind_u64(s, 18, r->validated_us);
    bind_text(s, 27, r->owner->name);
}

static void bind_gradient(sqlite3_stmt *s, const struct job_record *r)
{
    static const char *const masks[] = {
        [MASK_NONE] = NULL, [MASK_AFTER] = "after", [MASK_BEFORE] = "before"};

    if (id_is_zero(&r->parent))
        return;
    bind_id(s, 23, &r->parent);
    bind_u64(s, 24, r->nothing);
    bind_text(s, 25, masks[r->mask]);
    bind_u64(s, 26, r->mask_reduce == REDUCE_MIN);
}

/* inputs: NULL: there are none that a restart could use. */
static int insert_row(const struct job_record *r, struct tensor *const *inputs, const char *key,
                      struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_job_insert, e);

    if (!s)
        return -1;
    bind_job(s, r);
    for (uint32_t i = 0; inputs && i < record_needs(r); i++) {
        put_input(scratch.tensors + INPUT_BYTES * i, inputs[i]);
        flush_name(inputs[i]);
    }
    if (inputs)
        bind_blob(s, 19, scratch.tensors, (size_t)INPUT_BYTES * record_needs(r));
    bind_text(s, 20, key[0] ? key : NULL);
    bind_u64(s, 21, r->resident);
    if (r->called)
        bind_u64(s, 22, r->call_seq);
    bind_gradient(s, r);
    return db_run(db, s, e);
}

/* The row of calls that only waited, if there is one. */
static int drop_row(const struct id *id, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_job_drop, e);

    if (!s)
        return -1;
    bind_id(s, 1, id);
    return db_run(db, s, e);
}

static int insert(struct store_msg *msg, struct err *e)
{
    struct store_job_insert *m = (struct store_job_insert *)msg;

    m->existed = false;
    if (m->key[0] && (key_check(m, e) != 0 || m->existed))
        return m->existed ? 0 : -1;
    if ((m->replaces && (drop_row(&m->record->id, e) != 0 || late_drop(&m->record->id, e) != 0)) ||
        insert_row(m->record, m->inputs, m->key, e) != 0 ||
        keys_add(m->keys, m->n_keys, &m->record->id, m->batch != NULL, e) != 0)
        return -1;
    return m->key[0] && (!m->batch || m->leads) ? key_insert(m, e) : 0;
}

void store_job_insert_init(struct store_job_insert *m)
{
    m->msg.apply = insert;
}

/* ---- calls ---- */

static int tell_call(struct store_msg *msg, struct err *e)
{
    const struct store_call *m = (struct store_call *)msg;
    int rc;

    if (m->record)
        rc = drop_row(&m->id, e) != 0 || insert_row(m->record, NULL, "", e) != 0
                 ? -1
                 : late_put(m->record, m->came, e);
    else
        rc = m->last ? late_drop(&m->id, e) : late_come(&m->id, m->rank, e);
    return rc != 0 ? -1 : keys_add(m->keys, m->n_keys, &m->id, false, e);
}

void store_call_init(struct store_call *m)
{
    m->msg.apply = tell_call;
}

/* ---- finish ---- */

static void bind_error(sqlite3_stmt *s, const struct err *why)
{
    if (!why)
        return;
    bind_text(s, 4, err_name(why->code));
    bind_text(s, 5, why->detail);
    bind_text(s, 6, why->pointer);
    bind_blob(s, 7, scratch.ranks, ranks_to_blob(why->ranks, why->n_ranks, scratch.ranks));
    bind_u64(s, 8, why->asked_bytes);
    bind_u64(s, 9, why->free_bytes);
}

static void bind_outputs(sqlite3_stmt *s, const struct store_job_finish *m)
{
    static const struct id none;
    const struct job_record *r = m->record;

    if (!m->outputs)
        return;
    for (uint32_t i = 0; i < r->n; i++)
        memcpy(scratch.tensors + 16 * i, m->outputs[i] ? m->outputs[i]->id.b : none.b, 16);
    bind_blob(s, 15, scratch.tensors, 16 * (size_t)r->n);
}

static void bind_kept(sqlite3_stmt *s, const struct store_job_finish *m)
{
    const struct job_record *r = m->record;

    if (!m->kept)
        return;
    for (uint32_t i = 0; i < r->n; i++)
        memcpy(scratch.kept + 16 * i, r->kept[i].b, 16);
    bind_blob(s, 16, scratch.kept, 16 * (size_t)r->n);
}

static void bind_times(sqlite3_stmt *s, const struct job_record *r)
{
    bind_u64(s, 17, r->sent_us);
    if (!r->times)
        return;
    for (uint32_t i = 0; i < r->n; i++) {
        put_u64(scratch.times + 16 * i, r->times[i].start_ns);
        put_u64(scratch.times + 16 * i + 8, r->times[i].end_ns);
    }
    bind_blob(s, 18, scratch.times, 16 * (size_t)r->n);
}

static void bind_given(sqlite3_stmt *s, const struct given *g, uint32_t n)
{
    if (g && g->bytes)
        bind_blob(s, 19, g->bytes, g->size);
    if (g && g->ids)
        bind_blob(s, 20, g->ids, n * sizeof *g->ids);
}

/* Those that are the job's own. */
static int insert_kept(struct db *db, const struct store_job_finish *m, struct err *e)
{
    for (uint32_t i = 0; m->kept && i < m->record->n; i++) {
        const struct tensor *t = m->kept[i];

        if (t && id_equal(&t->job, &m->record->id) && tensor_insert_row(db, t, e) != 0)
            return -1;
    }
    return 0;
}

static int insert_outputs(struct db *db, const struct store_job_finish *m, struct err *e)
{
    const struct tensor *last = NULL; /* where ranks share one, they all do */

    for (uint32_t i = 0; m->outputs && i < m->record->n; i++) {
        const struct tensor *t = m->outputs[i];

        if (t && t != last && tensor_insert_row(db, t, e) != 0)
            return -1;
        last = t ? t : last;
    }
    return 0;
}

/* It never ran, and had no row of its own yet: the row, and who had called. */
static int insert_unrun(const struct store_job_finish *m, struct err *e)
{
    const struct job_record *r = m->record;

    if (drop_row(&r->id, e) != 0 || insert_row(r, NULL, "", e) != 0)
        return -1;
    return late_put(r, m->came, e) != 0 ? -1 : keys_add(m->keys, m->n_keys, &r->id, false, e);
}

/* Compare and set: the first end that is recorded is the end. */
static int finish(struct store_msg *msg, struct err *e)
{
    struct store_job_finish *m = (struct store_job_finish *)msg;
    const struct job_record *r = m->record;
    struct db *db = store_writer();
    sqlite3_stmt *s;
    char id[ID_TEXT];

    m->superseded = false;
    if (m->unrun && insert_unrun(m, e) != 0)
        return -1;
    s = db_stmt(db, STMT_job_finish, e);
    if (!s)
        return -1;
    bind_id(s, 1, &r->id);
    bind_text(s, 2, job_state_name(r->state));
    bind_u64(s, 3, r->attempts);
    bind_error(s, r->error);
    bind_u64(s, 10, r->queued_us);
    bind_u64(s, 11, r->dispatch_us);
    bind_u64(s, 12, r->collective_us);
    bind_u64(s, 13, r->total_us);
    bind_u64(s, 14, r->finished_us);
    bind_outputs(s, m);
    bind_kept(s, m);
    bind_times(s, r);
    bind_given(s, m->given, r->n);
    bind_u64(s, 21, r->staging_us);
    if (db_run(db, s, e) != 0)
        return -1;
    if (sqlite3_changes(db->sql) == 1)
        return insert_outputs(db, m, e) != 0 ? -1 : insert_kept(db, m, e);
    m->superseded = true;
    log_warn("job=%s an end is recorded already: %s is dropped", id_format('j', &r->id, id),
             job_state_name(r->state));
    return 0;
}

void store_job_finish_init(struct store_job_finish *m)
{
    m->msg.apply = finish;
}

/* ---- the rest ---- */

/* Nothing changes for a job that ended, or for a later attempt: then this message came late. */
static int attempt(struct store_msg *msg, struct err *e)
{
    struct store_job_attempt *m = (struct store_job_attempt *)msg;
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_job_attempt, e);

    if (!s)
        return -1;
    bind_id(s, 1, &m->id);
    bind_u64(s, 2, m->attempts);
    return db_run(db, s, e);
}

void store_job_attempt_init(struct store_job_attempt *m)
{
    m->msg.apply = attempt;
}

/* A job that ended meanwhile has no inputs any more. */
static int set_inputs(struct store_msg *msg, struct err *e)
{
    struct store_job_inputs *m = (struct store_job_inputs *)msg;
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_job_inputs, e);

    if (!s)
        return -1;
    bind_id(s, 1, &m->id);
    bind_blob(s, 2, m->inputs, m->size);
    bind_u64(s, 3, m->attempts);
    for (uint32_t i = 0; m->held && i < m->n_held; i++)
        flush_name(m->held[i]);
    return db_run(db, s, e);
}

/* Their bytes may have to be flushed, when the job is long over. */
static int hold(struct store_job_inputs *m, const struct job_record *record,
                struct tensor *const *inputs)
{
    m->n_held = record_needs(record);
    m->held = calloc(m->n_held, sizeof(struct tensor *));
    for (uint32_t i = 0; m->held && i < m->n_held; i++)
        m->held[i] = inputs[i] ? tensor_ref(inputs[i]) : NULL;
    return m->held ? 0 : -1;
}

int store_job_inputs_init(struct store_job_inputs *m, const struct job_record *record,
                          struct tensor *const *inputs)
{
    m->msg.apply = set_inputs;
    m->id = record->id;
    m->size = (size_t)INPUT_BYTES * record_needs(record);
    m->inputs = malloc(m->size);
    for (uint32_t i = 0; m->inputs && i < record_needs(record); i++)
        put_input(m->inputs + (size_t)INPUT_BYTES * i, inputs[i]);
    return m->inputs && (!durable || hold(m, record, inputs) == 0) ? 0 : -1;
}

void store_job_inputs_fini(struct store_job_inputs *m)
{
    for (uint32_t i = 0; m->held && i < m->n_held; i++)
        tensor_unref(m->held[i]);
    free(m->held);
    free(m->inputs);
}

/* 0 when the job is there and terminal. */
static int check_deletable(struct db *db, const struct id *id, struct err *e)
{
    sqlite3_stmt *s = db_stmt(db, STMT_job_state, e);
    char text[ID_TEXT], state[16];
    int rc;

    if (!s)
        return -1;
    bind_id(s, 1, id);
    rc = db_step(db, s, e);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(e, ERR_job_unknown, "there is no job %s", id_format('j', id, text));
    rc = column_text(s, 0, state, sizeof state);
    sqlite3_reset(s);
    if (rc != 0)
        return store_damaged("a job's state", e);
    if (strcmp(state, job_state_name(JOB_queued)) == 0)
        return err_set(e, ERR_job_running, "the job %s has not finished: cancel it first",
                       id_format('j', id, text));
    return 0;
}

static int delete (struct store_msg *msg, struct err *e)
{
    struct store_job_delete *m = (struct store_job_delete *)msg;
    struct db *db = store_writer();
    sqlite3_stmt *s;

    if (check_deletable(db, &m->id, e) != 0 || key_delete_of(&m->id, e) != 0)
        return -1;
    s = db_stmt(db, STMT_job_delete, e);
    if (!s)
        return -1;
    bind_id(s, 1, &m->id);
    return db_run(db, s, e) == 0 ? tensor_rows_delete(m->tensors, m->n, e) : -1;
}

void store_job_delete_init(struct store_job_delete *m)
{
    m->msg.apply = delete;
}

#define PURGE_ROWS 1000

/* The oldest possible id of a moment: a job that ended before it was received before it, and so has
 * a smaller one. That makes an index on the end needless. */
static struct id first_id_of(uint64_t wall_us)
{
    struct id id = {{0}};

    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(wall_us / 1000 >> (40 - 8 * i));
    return id;
}

static int purge_table(struct db *db, enum stmt_id what, uint64_t before_us, struct err *e)
{
    sqlite3_stmt *s = db_stmt(db, what, e);
    struct id before = first_id_of(before_us);

    if (!s)
        return -1;
    bind_id(s, 1, &before);
    bind_u64(s, 2, before_us);
    bind_u64(s, 3, PURGE_ROWS);
    return db_run(db, s, e);
}

static int purge(struct store_msg *msg, struct err *e)
{
    struct store_purge *m = (struct store_purge *)msg;
    struct db *db = store_writer();

    m->purged = 0;
    if (purge_table(db, STMT_key_purge, m->before_us, e) != 0 ||
        purge_table(db, STMT_job_purge, m->before_us, e) != 0)
        return -1;
    m->purged = (uint32_t)sqlite3_changes(db->sql);
    return 0;
}

void store_purge_init(struct store_purge *m)
{
    m->msg.apply = purge;
}
