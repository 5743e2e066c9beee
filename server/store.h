/* store.h - SQLite: what survives a restart.
 *
 * ONE connection, on the store's own thread, does all writes and all checkpoints: Debian 12's
 * SQLite 3.40.1 has the WAL-reset race of 3.7.0..3.51.2, which needs a second connection that
 * writes or checkpoints. Readers are query_only, one a thread, made on first use.
 *
 * Group commit: the store's thread takes everything that waits, applies it in one transaction, and
 * answers all of it after the commit. synchronous=NORMAL: a commit survives the death of every
 * process; the last ones may be lost with the machine's power, as the tensors in the tmpfs arena
 * are. With --durable it is FULL, and the bytes of tensors are flushed before the rows that name
 * them are committed.
 *
 * This file is long because every message to the store stands beside the others.
 */
#ifndef TUTTI_SERVER_STORE_H
#define TUTTI_SERVER_STORE_H

#include "schema/error.h"
#include "server/group.h"
#include "server/given.h"
#include "server/record.h"
#include "server/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* Intrusive message, the owner's until posted and again from done on. */
struct store_msg {
    /* Store thread, inside the transaction. Returns 0, or -1 with e: it looks before it writes, so
     * nothing of a refused message is stored, and the others go on. May run twice (after a
     * rollback). Set by the store_*_init functions below. */
    int (*apply)(struct store_msg *m, struct err *e);
    /* Store thread, after the commit (e NULL) or when it did not happen. Set by the owner; usually
     * it posts to the core or resumes a request. ERR_storage_full: certainly not stored.
     * ERR_outcome_unknown: the process is about to exit with status 70. */
    void (*done)(struct store_msg *m, const struct err *e);
    struct store_msg *next;
    bool joined; /* the store's: the next one belongs to the same transaction */
    int rc;      /* the store's */
    struct err err;
};

/* Takes data_dir/lock (flock; ERR_store naming the pid when another server has it), opens
 * data_dir/tutti.db, migrates it to the newest schema/sql in one transaction a file, refuses one
 * that is newer or corrupt (the detail names the file and a command to look at it). Makes data_dir
 * 0700 when missing. Main thread. */
int store_open(const char *data_dir, struct err *e);

/* Main thread: starts the writer. */
int store_start(struct err *e);

/* Main thread: commits what is posted, checkpoints, ends the writer. */
void store_stop(void);
void store_close(void);

/* Any thread; never blocks. */
void store_post(struct store_msg *m);

/* The same for several, linked by next: in this order, and in one transaction. */
void store_post_joined(struct store_msg *first);

/* ---- messages: fill in the fields, call init, set msg.done, post msg ---- */

/* The Idempotency-Key of one rank's call. */
struct store_key {
    char key[LIMIT_CALL_KEY_BYTES + 1];
    uint8_t digest[16];
};

/* What the jobs of one batch that has a key find out together. */
struct store_batch {
    bool existed; /* the batch came before */
    int rc;
    struct err err;
};

/* The key of one line of a batch, out of the batch's. */
void store_line_key(struct store_key *out, const char *key, uint32_t line);

struct store_job_insert {
    struct store_msg msg;
    const struct job_record *record;
    struct tensor *const *inputs; /* record->n */
    const char *key;              /* "" when none */
    const uint8_t *digest;        /* 16 bytes when there is a key */
    const uint8_t *text;          /* 16 bytes: of the request as it was written; NULL: of none */
    const struct store_key *keys; /* of its ranks' calls, beside; of a batch, the line's own */
    uint32_t n_keys;
    struct store_batch *batch; /* key is that of the batch; NULL: it is alone */
    bool leads;                /* the first of the batch */
    bool replaces;             /* the row is there: that of calls that only waited */
    bool existed;       /* out: the key's job was there, with the same digest; nothing stored */
    struct id existing; /* out: that job */
};
/* apply: ERR_idempotency_key_reused when the key is there with another digest. */
void store_job_insert_init(struct store_job_insert *m);

struct store_job_finish { /* terminal: state, error, timeline, and the outputs' rows */
    struct store_msg msg;
    const struct job_record *record;
    struct tensor *const
        *outputs; /* record->n, NULL where none, equal where shared; NULL if not succeeded */
    struct tensor *const *kept; /* record->n, as record->kept names them; NULL: none */
    const struct given *given;  /* NULL: it is not known */
    bool unrun; /* it was never recorded, or only as calls that waited: the row is made anew */
    const uint8_t *came; /* then: record->n, who had come; NULL: nobody else may come to it */
    const struct store_key *keys;
    uint32_t n_keys;
    bool
        superseded; /* out: another end was recorded before; this one is dropped, outputs and all */
};
void store_job_finish_init(struct store_job_finish *m);

/* Calls that wait, or that came late to a job that had ended. */
struct store_call {
    struct store_msg msg;
    struct id id;
    const struct job_record *record; /* its row is made anew; NULL: it is late */
    const uint8_t *came;             /* of record: n, who has come so far */
    uint32_t rank;                   /* of a late call: who has come now */
    bool last;                       /* and nobody else may come */
    const struct store_key *keys;
    uint32_t n_keys;
};
void store_call_init(struct store_call *m);

/* The job of a call's key, as the writing thread knows it: all that was posted before is there.
 * apply: ERR_idempotency_key_reused. */
struct store_key_find {
    struct store_msg msg;
    struct store_key key;
    bool found; /* out */
    struct id job;
};
void store_key_find_init(struct store_key_find *m);

struct store_job_attempt { /* a run begins: attempts */
    struct store_msg msg;
    struct id id;
    uint32_t attempts;
};
void store_job_attempt_init(struct store_job_attempt *m);

/* Inputs that were promises are there. */
struct store_job_inputs {
    struct store_msg msg;
    struct id id;
    uint32_t attempts; /* as of store_job_attempt; 0 changes nothing */
    uint8_t *inputs;   /* as the row has them; the message's own */
    size_t size;
    struct tensor **held; /* with --durable: the inputs; the message's own */
    uint32_t n_held;
};
/* Copies what is to be written of inputs (record_needs(record)), which may change from then on.
 * Returns 0, or -1 out of memory. */
int store_job_inputs_init(struct store_job_inputs *m, const struct job_record *record,
                          struct tensor *const *inputs);
void store_job_inputs_fini(struct store_job_inputs *m);

/* apply: ERR_job_unknown, ERR_job_running. */
struct store_job_delete { /* a terminal job's record and key, and tensors of it */
    struct store_msg msg;
    struct id id;
    struct tensor **tensors;
    uint32_t n;
};
void store_job_delete_init(struct store_job_delete *m);

struct store_purge { /* terminal jobs (and keys) that finished before, at most 1,000 a message */
    struct store_msg msg;
    uint64_t before_us; /* wall */
    uint32_t purged;    /* out */
};
void store_purge_init(struct store_purge *m);

struct store_tensor_insert {
    struct store_msg msg;
    struct tensor *tensor;
};
void store_tensor_insert_init(struct store_tensor_insert *m);

/* Its bytes have come to the arena; no effect when the row is gone. */
struct store_tensor_move {
    struct store_msg msg;
    struct id id;
    uint64_t extent_offset, extent_bytes, offset;
};
void store_tensor_move_init(struct store_tensor_move *m);

struct store_tensor_delete {
    struct store_msg msg;
    struct tensor **tensors;
    uint32_t n;
};
void store_tensor_delete_init(struct store_tensor_delete *m);

struct store_group_insert {
    struct store_msg msg;
    const struct group *group;
};
void store_group_insert_init(struct store_group_insert *m);

struct store_group_delete {
    struct store_msg msg;
    const char *name;
};
void store_group_delete_init(struct store_group_delete *m);

/* ---- reads: any thread, its own connection ---- */

/* The job of a key that came with this digest. Returns 0, 1 when there is none, or -1 with
 * ERR_idempotency_key_reused or ERR_store. */
int store_key_read(const struct store_key *k, struct id *job, struct err *e);

/* The job of a key that came with a request of this text. Returns 0, 1 when there is none, or -1
 * with ERR_store. */
int store_text_read(const char *key, const uint8_t *text, struct id *job, struct err *e);

/* A job's record (state queued when it is unfinished: memory knows better). scope: whose it may be;
 * NULL: anybody's. Returns 0, or -1 with ERR_job_unknown or ERR_store. */
int store_job_read(const struct id *id, const struct account *scope, struct job_record **out,
                   struct err *e);

/* What a finished job was given; *out is NULL when that is not known, and else the caller's.
 * record: its own. Returns 0, or -1 with ERR_job_unknown or ERR_store. */
int store_job_given(const struct id *id, const struct job_record *record, struct given **out,
                    struct err *e);

struct store_job_filter {
    struct id before;   /* older than this; zero: from the newest */
    bool terminal_only; /* leave unfinished ones out */
    bool has_state;
    enum job_state state;        /* a terminal one */
    const struct op *op;         /* NULL: any */
    const char *group;           /* NULL: any */
    const char *label;           /* NULL: any */
    const struct account *owner; /* NULL: any */
};

/* Newest first, up to max. Returns 0 or -1 (nothing in out then). */
int store_job_list(const struct store_job_filter *f, struct job_record **out, uint32_t max,
                   uint32_t *n, struct err *e);

/* ---- recovery: main thread, before store_start ---- */

/* The arena's nonce, 0 when there is none. */
uint64_t store_arena_nonce(void);

/* Remembers it at once. When it differs from what was remembered, every tensor and every unfinished
 * job's inputs are marked lost in the same transaction: a kill in between can never leave old
 * offsets that seem to lie in a new arena. */
int store_set_arena_nonce(uint64_t nonce, struct err *e);

/* Marks every tensor and every unfinished job's inputs lost (the arena did not survive). n:
 * tensors. */
int store_lose_tensors(uint64_t *n, struct err *e);

struct store_recovery {
    void *arg;
    int (*group)(void *arg, const struct group *g, struct err *e);
    /* One stored tensor: makes it from its row, t->extent adopted unless lost. Takes t. */
    int (*tensor)(void *arg, struct tensor *t, struct err *e);
    /* One unfinished job, oldest first; inputs adopted, or NULL when `lost` says that they are
     * gone. Takes record and inputs. */
    int (*job)(void *arg, struct job_record *record, struct tensor **inputs, bool lost,
               struct err *e);
    /* A job of calls to which not all ranks had come: came[record->n]. Of the record, the id and
     * what says whose calls they were; the job itself may have been deleted. */
    int (*call)(void *arg, const struct job_record *record, const uint8_t *came, struct err *e);
};

/* Calls the four for every row: groups, tensors, jobs, calls. A row whose extent cannot be adopted
 * counts as lost; a row that cannot be right is ERR_store, for a start on half a state loses the
 * other half. */
int store_recover(const struct store_recovery *r, struct err *e);

#endif
