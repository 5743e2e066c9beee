/* store_internal.h - what the store's files share: one connection, its statements, rows and blobs.
 * For store*.c alone. A struct db belongs to one thread. */
#ifndef TUTTI_SERVER_STORE_INTERNAL_H
#define TUTTI_SERVER_STORE_INTERNAL_H

#include "schema/error.h"
#include "schema/limits.h"
#include "server/record.h"
#include "server/store.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

enum stmt_id {
#define STMT(name, sql) STMT_##name,
#include "server/store_sql.def"
#undef STMT
#undef JOB_COLUMNS
#undef JOB_FILTER
    STMT_COUNT
};

struct db {
    sqlite3 *sql;
    sqlite3_stmt *stmt[STMT_COUNT]; /* prepared on first use */
    int failed; /* extended result code of the first call that failed; 0 again after a rollback */
};

/* ---- store_db.c: a connection ---- */

#define DB_PATH_BYTES 4352

/* writer: read and write; else query_only. Returns 0, or -1 with ERR_store; close in either case.
 */
int db_open(struct db *db, const char *path, bool writer, struct err *e);
void db_close(struct db *db); /* accepts zeroed memory */

/* Constant SQL without parameters, several statements: pragmas, migrations. */
int db_exec(struct db *db, const char *sql, struct err *e);

/* A statement, reset and without bindings; NULL with e. Parameters that cannot be bound make
 * db_step fail. What is bound must live until then. */
sqlite3_stmt *db_stmt(struct db *db, enum stmt_id id, struct err *e);

/* 1: a row, 0: done, -1: failed (then db->failed is set). A statement that is done or failed is
 * reset. */
int db_step(struct db *db, sqlite3_stmt *s, struct err *e);

/* db_step for a statement without rows: 0 or -1. */
int db_run(struct db *db, sqlite3_stmt *s, struct err *e);

/* The last failure of this connection as an error of ours: ERR_storage_full, ERR_no_memory, else
 * ERR_store. */
int db_error(struct db *db, int result, struct err *e);

void bind_u64(sqlite3_stmt *s, int at, uint64_t v); /* past INT64_MAX: INT64_MAX */
void bind_id(sqlite3_stmt *s, int at, const struct id *id);
void bind_text(sqlite3_stmt *s, int at, const char *text); /* NULL: NULL */
void bind_blob(sqlite3_stmt *s, int at, const void *bytes,
               size_t size); /* not NULL, also when empty */

/* Columns; those that return int: 0, or -1 when what is there cannot be right. */
uint64_t column_u64(sqlite3_stmt *s, int at); /* INT64_MAX: UINT64_MAX */
int column_id(sqlite3_stmt *s, int at, struct id *out);
int column_text(sqlite3_stmt *s, int at, char *out, size_t cap);
int column_dtype(sqlite3_stmt *s, int at, enum dtype *out);
int column_shape(sqlite3_stmt *s, int at, enum dtype d, struct shape *out);

/* u32s of ranks, little endian; *n of at most cap. */
size_t ranks_to_blob(const uint32_t *ranks, uint32_t n, uint8_t *out);
int column_ranks(sqlite3_stmt *s, int at, uint32_t *out, uint32_t cap, uint32_t *n);

size_t shape_to_blob(const struct shape *s, uint8_t *out); /* out: LIMIT_NDIM * 8 */
void put_u64(uint8_t *out, uint64_t v);
uint64_t get_u64(const uint8_t *in);

/* ---- store.c ---- */

const char *store_path(void);           /* of the database, for the operator's eyes */
struct db *store_writer(void);          /* store thread; main thread before store_start */
struct db *store_reader(struct err *e); /* this thread's; NULL with e */
int store_damaged(const char *what,
                  struct err *e); /* ERR_store: a row that cannot be right; or ERR_no_memory */

/* ---- store_commit.c: store thread ---- */

void commit_watch(struct db *db); /* before the first commit: counts what the log gets */

/* Applies the messages in one transaction and answers them all, in order; none comes back. */
void commit_batch(struct store_msg *first);

bool commit_log_grew(void);       /* since the last checkpoint */
void commit_checkpoint(int mode); /* SQLITE_CHECKPOINT_... */

/* ---- store_flush.c: store thread; nothing without --durable ---- */

void flush_begin(void);                  /* a transaction */
void flush_name(const struct tensor *t); /* a row of it names t, which its message holds; or NULL */
int flush_named(struct err *e);          /* before its commit; -1: as a statement that failed */

/* ---- store_schema.c ---- */

/* Before anything is opened: files that do not belong together are refused. Sets *clean when the
 * last server closed the database. */
int schema_check_files(const char *path, bool *clean, struct err *e);

/* ERR_store for a file that SQLite cannot make sense of: names it, and a command to look at it. */
int schema_unreadable(const char *path, int result, struct err *e);

/* Sees that the database is whole and ours, and brings it to the newest version. */
int schema_migrate(struct db *db, const char *path, bool clean, struct err *e);

/* ---- store_jobs_read.c ---- */

/* The row of JOB_COLUMNS; outputs are column 30, inputs 31. */
#define JOB_INPUTS_COLUMN 31
int job_from_row(sqlite3_stmt *s, struct job_record **out, struct err *e);

/* ---- store_tensors.c ---- */

int tensor_insert_row(struct db *db, const struct tensor *t, struct err *e);

/* ---- store_keys.c ---- */

int key_check(struct store_job_insert *m, struct err *e); /* sets existed */
int key_insert(const struct store_job_insert *m, struct err *e);
/* Of calls, or with `anew` of a batch's lines: there a key may have been another job's. */
int keys_add(const struct store_key *keys, uint32_t n, const struct id *job, bool anew,
             struct err *e);
int key_delete_of(const struct id *job, struct err *e);

/* ---- store_tensors.c ---- */

int tensor_rows_delete(struct tensor *const *tensors, uint32_t n, struct err *e);

/* ---- store_late.c: of a job's id; came: who has come so far, NULL: nobody else may ---- */

int late_put(const struct job_record *r, const uint8_t *came, struct err *e);
int late_come(const struct id *id, uint32_t rank, struct err *e); /* nothing when there is no row */
int late_drop(const struct id *id, struct err *e);
int late_recover(const struct store_recovery *r, struct err *e);

/* ---- of both store_jobs.c and store_recover.c: one rank's input ---- */

#define INPUT_BYTES 40            /* tensor id, extent offset, extent bytes, offset */
#define NO_EXTENT UINT64_MAX      /* its bytes were on a device only */
#define PROMISED (UINT64_MAX - 1) /* the output of a job: that one's id, this, its rank, 0 */

#endif
