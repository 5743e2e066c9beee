/* tensor.c - the table of tensors by id, and a heap of those that expire. */
#include "server/tensor.h"

#include "schema/clock.h"
#include "server/promise.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 256
#define HELD_RETRY_US 1000000

/* All under lock. */
static struct {
    pthread_mutex_t lock;
    struct tensor **buckets; /* a power of two */
    size_t n_buckets;
    size_t count;
    struct tensor **heap; /* heap[1..n_heap], soonest due_us first; as large as buckets, plus one */
    size_t n_heap;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

int tensor_table_init(struct err *e)
{
    table.buckets = calloc(FIRST_BUCKETS, sizeof(struct tensor *));
    table.heap = calloc(FIRST_BUCKETS + 1, sizeof(struct tensor *));
    if (!table.buckets || !table.heap) {
        free(table.buckets);
        free(table.heap);
        return err_set(e, ERR_no_memory, "the tensor table");
    }
    table.n_buckets = FIRST_BUCKETS;
    table.count = table.n_heap = 0;
    return 0;
}

void tensor_table_fini(void)
{
    for (size_t i = 0; i < table.n_buckets; i++) {
        for (struct tensor *t = table.buckets[i], *next; t; t = next) {
            next = t->next;
            t->published = false;
            t->due_slot = 0;
            tensor_unref(t);
        }
    }
    free(table.buckets);
    free(table.heap);
    table.buckets = table.heap = NULL;
    table.n_buckets = table.count = table.n_heap = 0;
}

struct tensor *tensor_new(enum dtype d, const struct shape *s, struct extent *extent,
                          uint64_t offset)
{
    struct tensor *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->id = id_new();
    t->owner = account_everybody();
    t->dtype = d;
    t->shape = *s;
    t->size_bytes = shape_count(s) * dtypes[d].size_bytes;
    t->extent = extent ? extent_ref(extent) : NULL;
    t->offset = offset;
    t->created_us = clock_wall_us();
    t->expires_us = UINT64_MAX;
    atomic_init(&t->refs, 1);
    return t;
}

struct tensor *tensor_ref(struct tensor *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tensor_unref(struct tensor *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    extent_unref(t->extent);
    if (t->home)
        t->home->gone(t->home);
    if (t->promise)
        promise_gone(t->promise);
    free(t);
}

/* ---- heap; under the lock ---- */

static void heap_put(size_t slot, struct tensor *t)
{
    table.heap[slot] = t;
    t->due_slot = slot;
}

static void heap_up(size_t slot, struct tensor *t)
{
    for (; slot > 1 && table.heap[slot / 2]->due_us > t->due_us; slot /= 2)
        heap_put(slot, table.heap[slot / 2]);
    heap_put(slot, t);
}

static void heap_down(size_t slot, struct tensor *t)
{
    for (size_t child; (child = 2 * slot) <= table.n_heap; slot = child) {
        if (child < table.n_heap && table.heap[child + 1]->due_us < table.heap[child]->due_us)
            child++;
        if (table.heap[child]->due_us >= t->due_us)
            break;
        heap_put(slot, table.heap[child]);
    }
    heap_put(slot, t);
}

static void heap_remove(struct tensor *t)
{
    size_t slot = t->due_slot;
    struct tensor *last;

    if (slot == 0)
        return;
    t->due_slot = 0;
    last = table.heap[table.n_heap--];
    if (last == t)
        return;
    heap_down(slot, last);
    heap_up(last->due_slot, last);
}

static void heap_set(struct tensor *t, uint64_t due_us)
{
    heap_remove(t);
    t->due_us = due_us;
    if (due_us != UINT64_MAX)
        heap_up(++table.n_heap, t);
}

/* ---- table; under the lock ---- */

static struct tensor **bucket_of(const struct id *id)
{
    uint64_t low;

    memcpy(&low, id->b + 8, sizeof low); /* the last bytes count up within a millisecond */
    low *= 0x9e3779b97f4a7c15ull;
    return &table.buckets[(low ^ low >> 32) & (table.n_buckets - 1)];
}

static struct tensor **place_of(const struct id *id)
{
    struct tensor **at;

    for (at = bucket_of(id); *at && !id_equal(&(*at)->id, id);)
        at = &(*at)->next;
    return at;
}

/* Twice the buckets. The heap has a place for every tensor, so that expiring one never fails. */
static int grow(void)
{
    size_t old_n = table.n_buckets;
    struct tensor **old = table.buckets, **heap, **buckets = calloc(2 * old_n, sizeof *buckets);

    heap = buckets ? realloc(table.heap, (2 * old_n + 1) * sizeof(struct tensor *)) : NULL;
    if (!heap) {
        free(buckets);
        return -1;
    }
    table.heap = heap;
    table.buckets = buckets;
    table.n_buckets = 2 * old_n;
    for (size_t i = 0; i < old_n; i++) {
        for (struct tensor *t = old[i], *next; t; t = next) {
            struct tensor **at = bucket_of(&t->id);

            next = t->next;
            t->next = *at;
            *at = t;
        }
    }
    free(old);
    return 0;
}

static void unlink_at(struct tensor **at)
{
    struct tensor *t = *at;

    *at = t->next;
    t->next = NULL;
    t->published = false;
    heap_remove(t);
    table.count--;
}

int tensor_publish(struct tensor *t)
{
    int rc = -1;
    struct tensor **at;

    pthread_mutex_lock(&table.lock);
    if (table.count >= table.n_buckets && grow() != 0)
        goto out;
    at = bucket_of(&t->id);
    t->next = *at;
    *at = tensor_ref(t);
    t->published = true;
    table.count++;
    heap_set(t, t->expires_us);
    rc = 0;
out:
    pthread_mutex_unlock(&table.lock);
    return rc;
}

struct tensor *tensor_find(const struct id *id)
{
    struct tensor *t;

    pthread_mutex_lock(&table.lock);
    t = *place_of(id);
    if (t)
        tensor_ref(t);
    pthread_mutex_unlock(&table.lock);
    return t;
}

struct tensor *tensor_remove(const struct id *id)
{
    struct tensor **at, *t;

    pthread_mutex_lock(&table.lock);
    at = place_of(id);
    t = *at;
    if (t)
        unlink_at(at);
    pthread_mutex_unlock(&table.lock);
    return t;
}

void tensor_expire(struct tensor *t, uint64_t wall_us)
{
    pthread_mutex_lock(&table.lock);
    t->expires_us = wall_us;
    if (t->published)
        heap_set(t, wall_us);
    pthread_mutex_unlock(&table.lock);
}

void tensor_expire_all(bool (*which)(const struct tensor *t, const void *arg), const void *arg,
                       uint64_t wall_us)
{
    pthread_mutex_lock(&table.lock);
    for (size_t i = 0; i < table.n_buckets; i++) {
        for (struct tensor *t = table.buckets[i]; t; t = t->next) {
            if (t->expires_us <= wall_us || !which(t, arg))
                continue;
            t->expires_us = wall_us;
            heap_set(t, wall_us);
        }
    }
    pthread_mutex_unlock(&table.lock);
}

uint32_t tensor_take_expired(uint64_t now_wall_us, struct tensor **out, uint32_t max)
{
    uint32_t n = 0;

    pthread_mutex_lock(&table.lock);
    while (n < max && table.n_heap > 0 && table.heap[1]->due_us < now_wall_us) {
        struct tensor *t = table.heap[1];

        /* New references come from the table alone, and so wait for the lock: 1 stays 1. */
        if (atomic_load_explicit(&t->refs, memory_order_acquire) != 1) {
            heap_set(t, now_wall_us + HELD_RETRY_US);
            continue;
        }
        unlink_at(place_of(&t->id));
        out[n++] = t;
    }
    pthread_mutex_unlock(&table.lock);
    return n;
}

bool tensor_away(const struct tensor *t)
{
    /* In this order: the extent comes before the last copy goes. */
    return t->home && !atomic_load(&t->home->lost) && !t->extent;
}

bool tensor_lost(const struct tensor *t)
{
    bool kept = t->home && !atomic_load(&t->home->lost);

    return !kept && !t->extent && t->size_bytes > 0;
}

uint8_t *tensor_data(const struct tensor *t)
{
    const struct extent *x = t->extent;

    return x ? extent_bytes(x) + t->offset : NULL;
}

const struct extent *tensor_kept_extent(const struct tensor *t)
{
    const struct extent *x = t->extent;

    return x && !extent_pool_of(x) ? x : NULL;
}

uint64_t tensor_arena_offset(const struct tensor *t)
{
    const struct extent *x = t->extent;

    return x ? extent_offset(x) + t->offset : 0;
}

uint64_t tensor_count(void)
{
    uint64_t n;

    pthread_mutex_lock(&table.lock);
    n = table.count;
    pthread_mutex_unlock(&table.lock);
    return n;
}
