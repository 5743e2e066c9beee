/* store.c - the database's life and its one writing thread: group commit, checkpoints. */
#include "server/store_internal.h"

#include "schema/failpoint.h"
#include "schema/log.h"
#include "server/private_dir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BATCH 4096           /* messages of one transaction: the first must not wait for all */
#define BEGIN_TRIES 10       /* of a second each, while somebody else holds the write lock */
#define IDLE_S 1             /* then what the log holds is checkpointed */
#define LOG_FRAMES 4000      /* checkpointed also under load: 16 MiB */
#define LOG_FRAMES_MAX 16000 /* and cut to nothing, when readers were in the way: 64 MiB */
#define ANSWER_MS 300        /* for the answers to get out before the exit */
#define EXIT_UNKNOWN 70      /* EX_SOFTWARE: the outcome of a commit is not known */

static struct {
    char path[DB_PATH_BYTES];
    int lock_fd;
    struct db writer; /* of the thread, or of the main thread while it does not run */
    int frames;       /* in the log since the last checkpoint; the writer's */
    pthread_t thread;
    bool started; /* main thread's */

    pthread_key_t reader_key; /* struct db * of each reading thread */
    bool has_key;

    pthread_mutex_t lock; /* the inbox: all below */
    pthread_cond_t wake;
    struct store_msg *head, **tail;
    bool stop;
} store = {.lock_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

const char *store_path(void)
{
    return store.path;
}

struct db *store_writer(void)
{
    return &store.writer;
}

int store_damaged(const char *what, struct err *e)
{
    return err_set(e, ERR_store, "%s in the database is damaged", what);
}

/* ---- open and close ---- */

static int take_lock(const char *dir, struct err *e)
{
    char path[DB_PATH_BYTES], pid[32] = {0};

    snprintf(path, sizeof path, "%s/lock", dir);
    store.lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store.lock_fd < 0)
        return err_sys(e, ERR_store, errno, "open %s", path);
    if (flock(store.lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(store.lock_fd, pid, sizeof pid - 1, 0);

        pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
        return err_set(e, ERR_store,
                       "%s is in use by process %s: stop that server, or give another --data-dir",
                       dir, pid[0] ? pid : "?");
    }
    snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(store.lock_fd, 0) != 0 ||
        pwrite(store.lock_fd, pid, strlen(pid), 0) != (ssize_t)strlen(pid))
        return err_sys(e, ERR_store, errno, "write %s", path);
    return 0;
}

/* Made by us and not by SQLite, so that nobody else may ever read it. */
static int make_file(struct err *e)
{
    int fd = open(store.path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;

    if (fd < 0)
        return err_sys(e, ERR_store, errno, "open %s for reading and writing", store.path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
        (st.st_mode & 077 && fchmod(fd, 0600) != 0)) {
        close(fd);
        return err_set(e, ERR_store, "%s must be a file of ours: run chmod 600 on it", store.path);
    }
    close(fd);
    return 0;
}

/* Deadlines of waits are on the clock that does not jump. Lives as long as the process. */
static void make_wake(void)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&store.wake, &attr);
    pthread_condattr_destroy(&attr);
}

static void close_reader(void *db)
{
    if (!db)
        return;
    db_close(db);
    free(db);
}

/* Counts the log's frames; also keeps SQLite from checkpointing by itself. */
static int on_commit(void *arg, sqlite3 *sql, const char *name, int frames)
{
    (void)arg;
    (void)sql;
    (void)name;
    store.frames = frames;
    return SQLITE_OK;
}

static int open_writer(struct err *e)
{
    bool clean = false;

    if (schema_check_files(store.path, &clean, e) != 0 || make_file(e) != 0)
        return -1;
    if (db_open(&store.writer, store.path, true, e) != 0)
        return schema_unreadable(store.path, store.writer.failed, e);
    if (schema_migrate(&store.writer, store.path, clean, e) != 0)
        return -1;
    sqlite3_wal_hook(store.writer.sql, on_commit, NULL);
    return 0;
}

int store_open(const char *data_dir, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char *dir;
    int rc = -1;

    pthread_once(&once, make_wake);
    if (private_dir_make(data_dir, ERR_store, e) != 0)
        return -1;
    dir = realpath(data_dir, NULL); /* SQLite refuses links on the way, we only as the last part */
    if (!dir || strlen(dir) > DB_PATH_BYTES - 16) {
        err_sys(e, ERR_store, dir ? ENAMETOOLONG : errno, "resolve %s", data_dir);
        goto out;
    }
    snprintf(store.path, sizeof store.path, "%s/tutti.db", dir);
    if (take_lock(dir, e) != 0)
        goto out;
    if (pthread_key_create(&store.reader_key, close_reader) != 0) {
        err_set(e, ERR_store, "no thread key is left");
        goto out;
    }
    store.has_key = true;
    rc = open_writer(e);
out:
    free(dir);
    if (rc != 0)
        store_close();
    return rc;
}

void store_close(void)
{
    assert(!store.started);
    if (store.has_key) {
        close_reader(pthread_getspecific(store.reader_key)); /* other threads' end with them */
        pthread_setspecific(store.reader_key, NULL);
        pthread_key_delete(store.reader_key);
    }
    store.has_key = false;
    db_close(&store.writer);
    if (store.lock_fd >= 0)
        close(store.lock_fd);
    store.lock_fd = -1;
    store.frames = 0;
    store.head = NULL;
}

struct db *store_reader(struct err *e)
{
    struct db *db = pthread_getspecific(store.reader_key);

    if (db) {
        db->failed = 0;
        return db;
    }
    db = malloc(sizeof *db);
    if (!db) {
        err_set(e, ERR_no_memory, "a database connection");
        return NULL;
    }
    if (db_open(db, store.path, false, e) != 0 || pthread_setspecific(store.reader_key, db) != 0) {
        db_close(db);
        free(db);
        return NULL;
    }
    return db;
}

/* ---- checkpoints: the writer's thread ---- */

/* An I/O error may have dropped pages that the kernel calls written: only a restart, which copies
 * the log again, is sure to be right. A full disk is no such thing; the log just grows. */
static void checkpoint(int mode)
{
    static bool told;
    int result = failpoint("ckpt.before") ? SQLITE_IOERR_FSYNC : SQLITE_OK;

    sqlite3_busy_timeout(store.writer.sql, 0); /* readers are not waited for */
    if (result == SQLITE_OK)
        result = sqlite3_wal_checkpoint_v2(store.writer.sql, NULL, mode, NULL, NULL);
    sqlite3_busy_timeout(store.writer.sql, 1000);
    failpoint("ckpt.after");
    if ((result & 0xff) == SQLITE_IOERR || (result & 0xff) == SQLITE_CORRUPT) {
        log_error("checkpoint of %s: %s (%d): exiting, the next start reads back what is there",
                  store.path, sqlite3_errstr(result), result);
        _exit(EXIT_UNKNOWN);
    }
    if (result != SQLITE_OK && (result & 0xff) != SQLITE_BUSY && !told)
        log_warn("checkpoint of %s: %s (%d): the log grows until it works", store.path,
                 sqlite3_errstr(result), result);
    told = result != SQLITE_OK && (result & 0xff) != SQLITE_BUSY;
    store.frames = 0; /* until the next commit says how long the log is */
}

static void checkpoint_when_long(void)
{
    if (store.frames >= LOG_FRAMES_MAX)
        checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
    else if (store.frames >= LOG_FRAMES)
        checkpoint(SQLITE_CHECKPOINT_PASSIVE);
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
    sqlite3_stmt *s = db_stmt(&store.writer, id, e);

    return s ? db_run(&store.writer, s, e) : -1;
}

/* Nobody else should write; somebody who does anyway (a shell) is waited for. */
static int begin(struct err *e)
{
    for (int i = 0; i < BEGIN_TRIES; i++) {
        store.writer.failed = 0;
        if (run(STMT_begin, e) == 0)
            return 0;
        if ((store.writer.failed & 0xff) != SQLITE_BUSY)
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
        return db_error(&store.writer, fault, e);
    if (run(STMT_commit, e) != 0)
        return -1;
    return fault ? db_error(&store.writer, fault, e) : 0;
}

static enum fate give_up(void)
{
    int failed = store.writer.failed;
    struct err e;

    if (!sqlite3_get_autocommit(store.writer.sql) && run(STMT_rollback, &e) != 0)
        return FATE_UNKNOWN;
    store.writer.failed = 0;
    return fate_of(failed);
}

/* Applies every message in one transaction. Unless FATE_DONE, e says why and none is stored (or,
 * when it is unknown, perhaps all). */
static enum fate transact(struct store_msg *first, struct err *e)
{
    struct db *db = &store.writer;
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
    err_set(&e, ERR_outcome_unknown,
            "the database failed while this was recorded; ask again once the service is back");
    answer(first, &e);
    nanosleep(&(struct timespec){.tv_nsec = ANSWER_MS * 1000000l}, NULL);
    _exit(EXIT_UNKNOWN);
}

static void settle(struct store_msg *first)
{
    static bool told; /* once, not for every request while the disk is full */
    struct err e = {0};
    enum fate fate = transact(first, &e);

    if (fate == FATE_REFUSED && !told)
        log_error("%s", e.detail);
    told = fate == FATE_REFUSED;
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

/* ---- the thread ---- */

/* Under the lock: up to BATCH messages. */
static struct store_msg *take(void)
{
    struct store_msg *first = store.head, *last = first;

    if (!first)
        return NULL;
    for (int i = 1; i < BATCH && last->next; i++)
        last = last->next;
    store.head = last->next;
    last->next = NULL;
    return first;
}

static bool idle_for_long(void)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    return pthread_cond_timedwait(&store.wake, &store.lock, &until) == ETIMEDOUT;
}

static void *writer_main(void *arg)
{
    struct store_msg *batch;

    (void)arg;
    pthread_mutex_lock(&store.lock);
    for (;;) {
        batch = take();
        if (!batch && store.stop)
            break;
        if (!batch && store.frames == 0) {
            pthread_cond_wait(&store.wake, &store.lock);
            continue;
        }
        if (!batch && (!idle_for_long() || store.head))
            continue;
        pthread_mutex_unlock(&store.lock);
        if (batch) {
            settle(batch);
            checkpoint_when_long();
        } else {
            checkpoint(SQLITE_CHECKPOINT_PASSIVE);
        }
        pthread_mutex_lock(&store.lock);
    }
    pthread_mutex_unlock(&store.lock);
    checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
    return NULL;
}

int store_start(struct err *e)
{
    int rc;

    store.stop = false;
    rc = pthread_create(&store.thread, NULL, writer_main, NULL);
    if (rc != 0)
        return err_sys(e, ERR_store, rc, "start the store's thread");
    store.started = true;
    return 0;
}

void store_stop(void)
{
    if (!store.started)
        return;
    pthread_mutex_lock(&store.lock);
    store.stop = true;
    pthread_mutex_unlock(&store.lock);
    pthread_cond_signal(&store.wake);
    pthread_join(store.thread, NULL);
    store.started = false;
}

/* Before store_start messages only gather; its thread finds them. */
void store_post(struct store_msg *m)
{
    m->next = NULL;
    pthread_mutex_lock(&store.lock);
    if (!store.head)
        store.tail = &store.head;
    *store.tail = m;
    store.tail = &m->next;
    pthread_mutex_unlock(&store.lock);
    pthread_cond_signal(&store.wake);
}
