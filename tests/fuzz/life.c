/* life.c - lives once, through the store's own messages, and takes the database's bytes along. */
#include "tests/fuzz/life.h"
#include "tests/fuzz/fuzz.h"

#include "server/promise.h"
#include "server/store.h"
#include "server/store_kv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WALL 1700000000000000ull
#define NEVER UINT64_MAX

struct id life_tensors[LIFE_TENSORS];

static void (*post)(struct store_msg *m);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static bool over;

static void on_done(struct store_msg *m, const struct err *e)
{
    FUZZ_CHECK(!e, "a life: %s", e->detail);
    (void)m;
    pthread_mutex_lock(&lock);
    over = true;
    pthread_cond_signal(&answered);
    pthread_mutex_unlock(&lock);
}

static void commit(struct store_msg *m)
{
    over = false;
    m->done = on_done;
    post(m);
    pthread_mutex_lock(&lock);
    while (!over)
        pthread_cond_wait(&answered, &lock);
    pthread_mutex_unlock(&lock);
}

/* Four numbers at an offset of the one extent. */
static struct tensor *tensor_at(struct extent *x, uint64_t offset)
{
    struct shape s = {.ndim = 1, .dim = {4}};
    struct tensor *t = tensor_new(DTYPE_float32, &s, x, offset);

    FUZZ_CHECK(t, "no memory for a tensor");
    t->created_us = WALL;
    t->expires_us = offset ? NEVER : WALL + 1;
    return t;
}

static struct tensor *upload(struct extent *x, uint64_t offset)
{
    struct tensor *t = tensor_at(x, offset);
    struct store_tensor_insert m = {.tensor = t};

    store_tensor_insert_init(&m);
    commit(&m.msg);
    return t;
}

static struct job_record *job(const char *op, uint64_t elements)
{
    struct job_record *r = record_new(2);

    FUZZ_CHECK(r, "no memory for a job");
    r->id = id_new();
    r->op = op_find(op, strlen(op));
    r->params.dst = 1;
    strcpy(r->group, "world");
    strcpy(r->label, "a label");
    r->ranks[1] = 1;
    r->dtype = DTYPE_float32;
    r->in_shape = (struct shape){.ndim = 1, .dim = {elements}};
    FUZZ_CHECK(op_out_shape(r->op, &r->params, 2, &r->in_shape, &r->out_shape, NULL) == 0, "%s",
               op);
    r->timeout_us = 60000000;
    r->received_us = WALL;
    return r;
}

static void insert(const struct job_record *r, struct tensor *const *inputs, const char *key)
{
    struct store_job_insert m = {.record = r, .inputs = inputs, .key = key};

    m.digest = m.text = (const uint8_t *)"0123456789abcdef";
    store_job_insert_init(&m);
    commit(&m.msg);
}

static void finish(struct job_record *r, enum job_state to, struct tensor *const *outputs)
{
    struct store_job_finish m = {.record = r, .outputs = outputs};

    r->state = to;
    r->finished_us = WALL + 5;
    r->attempts = 1;
    if (!outputs) {
        r->error = calloc(1, sizeof *r->error);
        FUZZ_CHECK(r->error, "no memory for an error");
        err_set(r->error, ERR_run_timeout, "too slow");
        err_rank(r->error, 1);
    }
    store_job_finish_init(&m);
    commit(&m.msg);
}

/* Calls: some rank has come to the one, the other has ended and somebody has not come to it. */
static void call(bool late)
{
    static const uint8_t came[2] = {1, 0};
    struct job_record *r = job("all_gather", 4);
    struct store_key key = {.key = "\x1f"
                                   "call"};

    r->called = true;
    r->call_seq = late;
    if (late) {
        struct store_job_finish m = {.record = r, .unrun = true, .came = came};

        r->state = JOB_failed;
        r->finished_us = WALL;
        r->error = calloc(1, sizeof *r->error);
        FUZZ_CHECK(r->error, "no memory for an error");
        err_set(r->error, ERR_ranks_missing, "rank 1 never came");
        store_job_finish_init(&m);
        commit(&m.msg);
    } else {
        struct store_call m = {.id = r->id, .record = r, .came = came, .keys = &key, .n_keys = 1};

        store_call_init(&m);
        commit(&m.msg);
    }
    record_free(r);
}

static void jobs(struct tensor *const *inputs, struct tensor *output)
{
    struct tensor *outputs[2] = {output, output}, *promised[2] = {NULL, NULL};
    struct job_record *done = job("all_reduce_sum", 4), *bad = job("gather", 4),
                      *first = job("scatter", 4), *then = job("broadcast", 2),
                      *gradient = job("all_reduce_sum", 4);

    insert(done, inputs, "a key");
    finish(done, JOB_succeeded, outputs);
    insert(bad, inputs, "");
    finish(bad, JOB_failed, NULL);
    insert(first, inputs, "another");
    promised[0] = promise_new(&first->id, 1, DTYPE_float32, &first->out_shape);
    insert(then, promised, "");
    gradient->parent = done->id;
    insert(gradient, inputs, "");
    tensor_unref(promised[0]);
    record_free(done);
    record_free(bad);
    record_free(first);
    record_free(then);
    record_free(gradient);
    call(false);
    call(true);
}

static void groups_and_keys(void)
{
    struct group g = {.created_us = WALL, .n = 2, .ranks = {3, 1}};
    struct store_group_insert add = {.group = &g};

    strcpy(g.name, "pair");
    store_group_insert_init(&add);
    commit(&add.msg);
    for (int i = 0; i < 2; i++) {
        struct store_kv_put put = {.group = i ? "pair" : "world",
                                   .key = "key",
                                   .text = "{\"a\":[1]}",
                                   .len = 9,
                                   .when = {.now_us = WALL, .group_us = WALL},
                                   .expires_us = NEVER,
                                   .version = id_new()};

        store_kv_put_init(&put);
        commit(&put.msg);
    }
}

static void live(void)
{
    struct tensor *t[LIFE_TENSORS], *inputs[2];
    struct extent *x;
    struct err e;

    FUZZ_CHECK(extent_alloc(64, &x, &e) == 0, "%s", e.detail);
    t[0] = upload(x, 0);
    t[1] = upload(x, 16);
    t[2] = tensor_at(x, 32);
    extent_unref(x);
    groups_and_keys();
    inputs[0] = t[0];
    inputs[1] = t[1];
    jobs(inputs, t[2]);
    for (int i = 0; i < LIFE_TENSORS; i++) {
        life_tensors[i] = t[i]->id;
        tensor_unref(t[i]);
    }
}

uint8_t *life_database(const char *dir, uint64_t arena_nonce, void (*with)(struct store_msg *m),
                       size_t *len)
{
    static const char *const names[] = {"tutti.db", "tutti.db-wal", "tutti.db-shm", "lock"};
    char path[256];
    uint8_t *bytes;
    struct stat s;
    struct err e;
    FILE *f;

    post = with;
    FUZZ_CHECK(store_open(dir, &e) == 0 && store_set_arena_nonce(arena_nonce, &e) == 0 &&
                   store_start(&e) == 0,
               "a life: %s", e.detail);
    live();
    store_stop();
    store_close();
    snprintf(path, sizeof path, "%s/tutti.db", dir);
    f = fopen(path, "rb");
    FUZZ_CHECK(f && fstat(fileno(f), &s) == 0 && (bytes = malloc((size_t)s.st_size)) &&
                   fread(bytes, 1, (size_t)s.st_size, f) == (size_t)s.st_size,
               "cannot read %s", path);
    fclose(f);
    *len = (size_t)s.st_size;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return bytes;
}
