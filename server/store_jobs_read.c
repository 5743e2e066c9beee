/* store_jobs_read.c - rows of jobs as records: one by its id, pages of them by filter. */
#include "server/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The places of JOB_COLUMNS. */
enum column {
    COL_id,
    COL_state,
    COL_op,
    COL_group_name,
    COL_ranks,
    COL_split_axis,
    COL_concat_axis,
    COL_src,
    COL_dst,
    COL_dtype,
    COL_in_shape,
    COL_out_shape,
    COL_priority,
    COL_stream,
    COL_timeout_us,
    COL_label,
    COL_attempts,
    COL_error_code,
    COL_error_detail,
    COL_error_pointer,
    COL_error_ranks,
    COL_error_asked,
    COL_error_free,
    COL_received_us,
    COL_validated_us,
    COL_queued_us,
    COL_dispatch_us,
    COL_collective_us,
    COL_total_us,
    COL_finished_us,
    COL_outputs,
    COL_inputs,
    COL_resident,
    COL_call_seq,
    COL_parent,
    COL_nothing,
    COL_mask,
    COL_mask_min,
    COL_kept,
    COL_owner,
    COL_sent_us,
    COL_times,
    COL_staging_us
};

_Static_assert(COL_inputs == JOB_INPUTS_COLUMN, "store_recover.c reads the inputs");

static int read_names(sqlite3_stmt *s, struct job_record *r)
{
    char state[16], op[64], owner[LIMIT_ACCOUNT_BYTES + 1];

    if (column_text(s, COL_owner, owner, sizeof owner) != 0 || !(r->owner = account_get(owner)) ||
        column_text(s, COL_state, state, sizeof state) != 0 ||
        job_state_find(state, strlen(state), &r->state) != 0 ||
        column_text(s, COL_op, op, sizeof op) != 0 || !(r->op = op_find(op, strlen(op))))
        return -1;
    return column_text(s, COL_group_name, r->group, sizeof r->group) |
           column_text(s, COL_label, r->label, sizeof r->label);
}

static int read_tensors(sqlite3_stmt *s, struct job_record *r)
{
    if (column_dtype(s, COL_dtype, &r->dtype) != 0)
        return -1;
    return column_shape(s, COL_in_shape, r->dtype, &r->in_shape) |
           column_shape(s, COL_out_shape, r->dtype, &r->out_shape);
}

/* Calls that ended before a rank had given are recorded as zeros: a float16 scalar. One that was
 * given so, and never ran either, is not told apart. */
static bool was_shaped(const struct job_record *r)
{
    return !r->called || r->attempts > 0 || r->dtype != 0 || r->in_shape.ndim > 0 ||
           (r->state != JOB_failed && r->state != JOB_cancelled);
}

static void read_numbers(sqlite3_stmt *s, struct job_record *r)
{
    r->params.split_axis = sqlite3_column_int64(s, COL_split_axis);
    r->params.concat_axis = sqlite3_column_int64(s, COL_concat_axis);
    r->params.src = (uint32_t)column_u64(s, COL_src);
    r->params.dst = (uint32_t)column_u64(s, COL_dst);
    r->priority = sqlite3_column_int(s, COL_priority);
    r->stream = (uint32_t)column_u64(s, COL_stream);
    r->called = sqlite3_column_type(s, COL_call_seq) != SQLITE_NULL;
    r->call_seq = r->called ? column_u64(s, COL_call_seq) : 0;
    r->resident = column_u64(s, COL_resident) != 0;
    r->timeout_us = column_u64(s, COL_timeout_us);
    r->attempts = (uint32_t)column_u64(s, COL_attempts);
    r->received_us = column_u64(s, COL_received_us);
    r->validated_us = column_u64(s, COL_validated_us);
    r->queued_us = column_u64(s, COL_queued_us);
    r->dispatch_us = column_u64(s, COL_dispatch_us);
    r->staging_us = column_u64(s, COL_staging_us);
    r->collective_us = column_u64(s, COL_collective_us);
    r->total_us = column_u64(s, COL_total_us);
    r->sent_us = column_u64(s, COL_sent_us);
    r->finished_us = column_u64(s, COL_finished_us);
}

static int read_error(sqlite3_stmt *s, struct job_record *r)
{
    char name[64];

    if (sqlite3_column_type(s, COL_error_code) == SQLITE_NULL)
        return 0;
    r->error = calloc(1, sizeof *r->error);
    if (!r->error || column_text(s, COL_error_code, name, sizeof name) != 0)
        return -1;
    r->error->code = err_find(name);
    r->error->asked_bytes = column_u64(s, COL_error_asked);
    r->error->free_bytes = column_u64(s, COL_error_free);
    return column_text(s, COL_error_detail, r->error->detail, sizeof r->error->detail) |
           column_text(s, COL_error_pointer, r->error->pointer, sizeof r->error->pointer) |
           column_ranks(s, COL_error_ranks, r->error->ranks, ERR_RANKS, &r->error->n_ranks);
}

/* n ids, or NULL. */
static int read_ids(sqlite3_stmt *s, int col, uint32_t n, struct id **out)
{
    const void *ids = sqlite3_column_blob(s, col);

    if (!ids)
        return errno == ENOMEM ? -1 : 0;
    if ((size_t)sqlite3_column_bytes(s, col) != n * sizeof **out)
        return -1;
    *out = malloc(n * sizeof **out);
    if (!*out)
        return -1;
    memcpy(*out, ids, n * sizeof **out);
    return 0;
}

/* Of jobs that ran before there was such a column: none. */
static int read_times(sqlite3_stmt *s, struct job_record *r)
{
    const uint8_t *at = sqlite3_column_blob(s, COL_times);

    if (!at)
        return errno == ENOMEM ? -1 : 0;
    if ((size_t)sqlite3_column_bytes(s, COL_times) != 16 * (size_t)r->n)
        return -1;
    r->times = calloc(r->n, sizeof *r->times);
    for (uint32_t i = 0; r->times && i < r->n; i++)
        r->times[i] = (struct rank_time){get_u64(at + 16 * i), get_u64(at + 16 * i + 8)};
    return r->times ? 0 : -1;
}

static int read_gradient(sqlite3_stmt *s, struct job_record *r)
{
    char mask[8];

    if (sqlite3_column_type(s, COL_parent) == SQLITE_NULL)
        return 0;
    r->nothing = column_u64(s, COL_nothing) != 0;
    r->mask_reduce = column_u64(s, COL_mask_min) ? REDUCE_MIN : REDUCE_MAX;
    if (sqlite3_column_type(s, COL_mask) != SQLITE_NULL) {
        if (column_text(s, COL_mask, mask, sizeof mask) != 0)
            return -1;
        r->mask = strcmp(mask, "after") == 0 ? MASK_AFTER : MASK_BEFORE;
    }
    return column_id(s, COL_parent, &r->parent);
}

static int read_outputs(sqlite3_stmt *s, struct job_record *r)
{
    if (r->state == JOB_succeeded && sqlite3_column_type(s, COL_outputs) == SQLITE_NULL)
        return -1;
    return read_ids(s, COL_outputs, r->n, &r->outputs) != 0 ? -1
                                                            : read_ids(s, COL_kept, r->n, &r->kept);
}

int job_from_row(sqlite3_stmt *s, struct job_record **out, struct err *e)
{
    uint32_t n = (uint32_t)sqlite3_column_bytes(s, COL_ranks) / 4;
    struct job_record *r;

    if (n == 0 || n > LIMIT_RANKS)
        return store_damaged("a job", e);
    r = record_new(n);
    if (!r)
        return err_set(e, ERR_no_memory, "a job's record");
    read_numbers(s, r);
    if (column_id(s, COL_id, &r->id) != 0 || column_ranks(s, COL_ranks, r->ranks, n, &n) != 0 ||
        read_names(s, r) != 0 || read_tensors(s, r) != 0 || read_error(s, r) != 0 ||
        read_gradient(s, r) != 0 || read_outputs(s, r) != 0 || read_times(s, r) != 0) {
        record_free(r);
        return store_damaged("a job", e);
    }
    r->shaped = was_shaped(r);
    *out = r;
    return 0;
}

int store_job_read(const struct id *id, const struct account *scope, struct job_record **out,
                   struct err *e)
{
    struct db *db = store_reader(e);
    sqlite3_stmt *s = db ? db_stmt(db, STMT_job_read, e) : NULL;
    char text[ID_TEXT];
    int rc;

    if (!s)
        return -1;
    bind_id(s, 1, id);
    bind_text(s, 2, scope ? scope->name : NULL);
    rc = db_step(db, s, e);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(e, ERR_job_unknown, "there is no job %s", id_format('j', id, text));
    rc = job_from_row(s, out, e);
    sqlite3_reset(s);
    return rc;
}

/* Of two columns at most one is there. */
static int read_given(sqlite3_stmt *s, const struct job_record *r, struct given **out)
{
    uint64_t want = given_input_bytes(r) * given_count(r);
    const void *bytes = sqlite3_column_blob(s, 0);
    size_t size = (size_t)sqlite3_column_bytes(s, 0);
    struct given *g;

    *out = NULL;
    if (sqlite3_column_type(s, 0) == SQLITE_NULL && sqlite3_column_type(s, 1) == SQLITE_NULL)
        return 0;
    g = calloc(1, sizeof *g);
    if (!g)
        return -1;
    if (sqlite3_column_type(s, 0) == SQLITE_NULL) {
        if (read_ids(s, 1, r->n, &g->ids) == 0)
            *out = g;
    } else if (size == want && (size == 0 || bytes) && (g->bytes = malloc(size + 1))) {
        if (size > 0)
            memcpy(g->bytes, bytes, size);
        g->size = size;
        *out = g;
    }
    if (!*out)
        given_free(g);
    return *out ? 0 : -1;
}

int store_job_given(const struct id *id, const struct job_record *record, struct given **out,
                    struct err *e)
{
    struct db *db = store_reader(e);
    sqlite3_stmt *s = db ? db_stmt(db, STMT_job_given, e) : NULL;
    char text[ID_TEXT];
    int rc;

    if (!s)
        return -1;
    bind_id(s, 1, id);
    rc = db_step(db, s, e);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(e, ERR_job_unknown, "there is no job %s", id_format('j', id, text));
    rc = read_given(s, record, out);
    sqlite3_reset(s);
    return rc == 0 ? 0 : store_damaged("a job's inputs", e);
}

/* The statement that walks the fewest rows: by label, by a rare state, else from the newest. */
static enum stmt_id statement_for(const struct store_job_filter *f)
{
    if (f->label && f->label[0])
        return STMT_job_list_label;
    if (f->has_state && (f->state == JOB_failed || f->state == JOB_cancelled))
        return STMT_job_list_bad;
    return f->owner && f->owner->name[0] ? STMT_job_list_own : STMT_job_list;
}

static void bind_filter(sqlite3_stmt *s, const struct store_job_filter *f, uint32_t max)
{
    static const struct id newest = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

    bind_id(s, 1, id_is_zero(&f->before) ? &newest : &f->before);
    bind_text(s, 2, f->op ? f->op->name : NULL);
    bind_text(s, 3, f->group);
    bind_u64(s, 4, f->terminal_only);
    bind_text(s, 5, f->has_state ? job_state_name(f->state) : NULL);
    bind_u64(s, 6, max);
    bind_text(s, 8, f->owner ? f->owner->name : NULL);
    if (statement_for(f) == STMT_job_list_label)
        bind_text(s, 7, f->label);
}

int store_job_list(const struct store_job_filter *f, struct job_record **out, uint32_t max,
                   uint32_t *n, struct err *e)
{
    struct db *db = store_reader(e);
    sqlite3_stmt *s = db ? db_stmt(db, statement_for(f), e) : NULL;
    uint32_t got = 0;
    int rc;

    if (!s)
        return -1;
    bind_filter(s, f, max);
    while (got < max && (rc = db_step(db, s, e)) != 0) {
        if (rc < 0 || job_from_row(s, &out[got], e) != 0)
            goto fail;
        got++;
    }
    sqlite3_reset(s);
    *n = got;
    return 0;
fail:
    sqlite3_reset(s);
    while (got > 0)
        record_free(out[--got]);
    return -1;
}
