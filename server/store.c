/* store.c - the database's life: opened under a lock, one writing thread with its inbox, readers.
 */
#include "server/store_internal.h"

#include "server/durable.h"
#include "server/private_dir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BATCH 4096 /* messages of one transaction: the first must not wait for all */
#define IDLE_S 1   /* then what the log holds is checkpointed */

static struct {
    char path[DB_PATH_BYTES];
    int lock_fd;
    struct db writer; /* of the thread, or of the main thread while it does not run */
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
    if (errno == ENOMEM) /* set by malloc, ours or SQLite's, since db_step gave the row */
        return err_set(e, ERR_no_memory, "reading %s of the database", what);
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
    if (private_dir_lock(store.lock_fd) != 0) {
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

static int open_writer(struct err *e)
{
    bool clean = false;

    if (schema_check_files(store.path, &clean, e) != 0 || make_file(e) != 0)
        return -1;
    if (db_open(&store.writer, store.path, true, e) != 0)
        return schema_unreadable(store.path, store.writer.failed, e);
    if (durable && db_exec(&store.writer, "PRAGMA synchronous=FULL", e) != 0)
        return -1;
    if (schema_migrate(&store.writer, store.path, clean, e) != 0)
        return -1;
    commit_watch(&store.writer);
    return 0;
}

int store_open(const char *data_dir, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char *dir;
    int rc = -1;

    pthread_once(&once, make_wake);
    if (private_dir_make(data_dir, ERR_store, e) != 0 ||
        (durable && durable_check_dir(data_dir, "--data-dir", ERR_store, e) != 0))
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
    if (open_writer(e) != 0 || (durable && durable_sync_dir(dir, ERR_store, e) != 0))
        goto out;
    rc = 0;
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

/* ---- the thread ---- */

/* Under the lock: up to BATCH messages, and those that are joined to the last. */
static struct store_msg *take(void)
{
    struct store_msg *first = store.head, *last = first;

    if (!first)
        return NULL;
    for (int i = 1; (i < BATCH || last->joined) && last->next; i++)
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
    pthread_setname_np(pthread_self(), "store");
    pthread_mutex_lock(&store.lock);
    for (;;) {
        batch = take();
        if (!batch && store.stop)
            break;
        if (!batch && !commit_log_grew()) {
            pthread_cond_wait(&store.wake, &store.lock);
            continue;
        }
        if (!batch && (!idle_for_long() || store.head))
            continue;
        pthread_mutex_unlock(&store.lock);
        if (batch) {
            commit_batch(batch);
        } else {
            commit_checkpoint(SQLITE_CHECKPOINT_PASSIVE);
        }
        pthread_mutex_lock(&store.lock);
    }
    pthread_mutex_unlock(&store.lock);
    commit_checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
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
void store_post_joined(struct store_msg *first)
{
    struct store_msg *last = first;

    for (; last->next; last = last->next)
        last->joined = true;
    last->joined = false;
    pthread_mutex_lock(&store.lock);
    if (!store.head)
        store.tail = &store.head;
    *store.tail = first;
    store.tail = &last->next;
    pthread_mutex_unlock(&store.lock);
    pthread_cond_signal(&store.wake);
}

void store_post(struct store_msg *m)
{
    m->next = NULL;
    store_post_joined(m);
}
