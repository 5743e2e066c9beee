/* store_commit.c - group commit and checkpoints: what the one writing thread does. */
#include "server/store_internal.h"

#include "schema/clock.h"
#include "schema/failpoint.h"
#include "schema/log.h"
#include "server/extent.h"
#include "server/metrics.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define BEGIN_TRIES 10       /* of a second each, while somebody else holds the write lock */
#define LOG_FRAMES 4000      /* checkpointed also under load: 16 MiB */
#define LOG_FRAMES_MAX 16000 /* and cut to nothing, when readers were in the way: 64 MiB */
#define ANSWER_MS 300        /* for the answers to get out before the exit */
#define EXIT_UNKNOWN 70      /* EX_SOFTWARE: the outcome of a commit is not known */

static int log_frames; /* in the log since the last checkpoint; the writing thread's */

/* Counts the log's frames; also keeps SQLite from checkpointing by itself. */
static int on_commit(void *arg, sqlite3 *sql, const char *name, int frames)
{
    (void)arg;
    (void)sql;
    (void)name;
    log_frames = frames;
    return SQLITE_OK;
}

void commit_watch(struct db *db)
{
    log_frames = 0;
    sqlite3_wal_hook(db->sql, on_commit, NULL);
}

bool commit_log_grew(void)
{
    return log_frames > 0;
}

/* ---- checkpoints ---- */

/* An I/O error may have dropped pages that the kernel calls written: only a restart, which copies
 * the log again, is sure to be right. A full disk is no such thing; the log just grows. */
void commit_checkpoint(int mode)
{
    static bool told;
    int result = failpoint("ckpt.before") ? SQLITE_IOERR_FSYNC : SQLITE_OK;

    sqlite3_busy_timeout(store_writer()->sql, 0); /* readers are not waited for */
    if (result == SQLITE_OK)
        result = sqlite3_wal_checkpoint_v2(store_writer()->sql, NULL, mode, NULL, NULL);
    sqlite3_busy_timeout(store_writer()->sql, 1000);
    failpoint("ckpt.after");
    if ((result & 0xff) == SQLITE_IOERR || (result & 0xff) == SQLITE_CORRUPT) {
        log_error("checkpoint of %s: %s (%d): exiting, the next start reads back what is there",
                  store_path(), sqlite3_errstr(result), result);
        _exit(EXIT_UNKNOWN);
    }
    if (result != SQLITE_OK && (result & 0xff) != SQLITE_BUSY && !told)
        log_warn("checkpoint of %s: %s (%d): the log grows until it works", store_path(),
                 sqlite3_errstr(result), result);
    told = result != SQLITE_OK && (result & 0xff) != SQLITE_BUSY;
    log_frames = 0; /* until the next commit says how long the log is */
}

static void checkpoint_when_long(void)
{
    if (log_frames >= LOG_FRAMES_MAX)
        commit_checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
    else if (log_frames >= LOG_FRAMES)
        commit_checkpoint(SQLITE_CHECKPOINT_PASSIVE);
}

/* ---- one transaction ---- */

enum fate {
    FATE_DONE,
    FATE_REFUSED, /* rolled back for want of space, memory or the lock: certainly not stored */
    FATE_POISON,  /* rolled back: a message broke a rule of the schema */
    FATE_UNKNOWN,
};

static enum fate fate_of(int result)
{
    switch (result & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_BUSY: /* at BEGIN, the only place for it */
        return FATE_REFUSED;
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        return FATE_POISON;
    default:
        return FATE_UNKNOWN;
    }
}

static int run(enum stmt_id id, struct err *e)
{
    sqlite3_stmt *s = db_stmt(store_writer(), id, e);

    return s ? db_run(store_writer(), s, e) : -1;
}

/* Nobody else should write; somebody who does anyway (a shell) is waited for. */
static int begin(struct err *e)
{
    for (int i = 0; i < BEGIN_TRIES; i++) {
        store_writer()->failed = 0;
        flush_begin();
        if (run(STMT_begin, e) == 0)
            return 0;
        if ((store_writer()->failed & 0xff) != SQLITE_BUSY)
            return -1;
        log_warn("database: another process holds the write lock");
    }
    return err_set(e, ERR_not_ready, "another process holds the database's write lock");
}

/* The errno of a failpoint as what SQLite would say. */
static int injected(const char *name)
{
    int number = failpoint(name);

    if (number == 0)
        return 0;
    return number == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_FSYNC;
}

/* A commit whose fsync fails is found done at the next start, so that is what a fault test gets. */
static int commit(struct err *e)
{
    int fault = injected("store.commit_err");

    if (fault == SQLITE_FULL)
        return db_error(store_writer(), fault, e);
    if (run(STMT_commit, e) != 0)
        return -1;
    return fault ? db_error(store_writer(), fault, e) : 0;
}

static enum fate give_up(void)
{
    int failed = store_writer()->failed;
    struct err e;

    if (!sqlite3_get_autocommit(store_writer()->sql) && run(STMT_rollback, &e) != 0)
        return FATE_UNKNOWN;
    store_writer()->failed = 0;
    return fate_of(failed);
}

/* Applies every message in one transaction. Unless FATE_DONE, e says why and none is stored (or,
 * when it is unknown, perhaps all). */
static enum fate transact(struct store_msg *first, struct err *e)
{
    struct db *db = store_writer();
    int fault;

    if (begin(e) != 0)
        return give_up();
    for (struct store_msg *m = first; m; m = m->next) {
        m->rc = m->apply(m, &m->err);
        if (db->failed) {
            *e = m->err;
            return give_up();
        }
    }
    if (flush_named(e) != 0)
        return give_up();
    fault = injected("store.before_commit");
    if (fault) {
        db_error(db, fault, e);
        return give_up();
    }
    if (commit(e) != 0)
        return give_up();
    failpoint("store.after_commit");
    return FATE_DONE;
}

/* done() may free the message. */
static void answer(struct store_msg *first, const struct err *why)
{
    for (struct store_msg *m = first, *next; m; m = next) {
        next = m->next;
        if (why) {
            m->rc = -1;
            m->err = *why;
        }
        m->done(m, m->rc == 0 ? NULL : &m->err);
    }
}

static void answer_unknown(struct store_msg *first, const struct err *why)
{
    struct err e;

    log_error("database: %s: exiting, the next start reads back what is there", why->detail);
    extent_freeze(); /* what is refused below may be recorded all the same, with its bytes */
    err_set(&e, ERR_outcome_unknown,
            "the database failed while this was recorded; ask again once the service is back");
    answer(first, &e);
    nanosleep(&(struct timespec){.tv_nsec = ANSWER_MS * 1000000l}, NULL);
    _exit(EXIT_UNKNOWN);
}

static uint32_t count(const struct store_msg *first)
{
    uint32_t n = 0;

    for (const struct store_msg *m = first; m; m = m->next)
        n++;
    return n;
}

static void settle(struct store_msg *first)
{
    uint64_t begun = clock_us();
    static bool told; /* once, not for every request while the disk is full */
    struct err e = {0};
    enum fate fate = transact(first, &e);

    if (fate == FATE_REFUSED && !told)
        log_error("%s", e.detail);
    told = fate == FATE_REFUSED;
    metrics_commit(fate == FATE_DONE, count(first), clock_us() - begun);
    if (fate == FATE_DONE) {
        answer(first, NULL);
    } else if (fate == FATE_REFUSED) {
        answer(first, &e);
    } else if (fate == FATE_UNKNOWN) {
        answer_unknown(first, &e);
    } else if (!first->next) {
        log_error("%s", e.detail);
        err_set(&e, ERR_internal, "the database refuses what was to be recorded");
        answer(first, &e);
    } else {
        /* One message must not spoil the others: each by itself. */
        for (struct store_msg *m = first, *next; m; m = next) {
            next = m->next;
            m->next = NULL;
            settle(m);
        }
    }
}

void commit_batch(struct store_msg *first)
{
    settle(first);
    checkpoint_when_long();
}
