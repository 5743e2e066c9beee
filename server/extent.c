/* extent.c - pieces of the arena with reference counts, over blocks.c, behind one mutex. */
#include "server/extent.h"

#include "schema/limits.h"
#include "schema/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define FLUSH_GAP_BYTES (2ull << 20) /* between extents that are flushed at once */

struct extent {
    struct block block;  /* first; its size is rounded up. No range when size_bytes is 0 */
    uint64_t size_bytes; /* as asked */
    atomic_uint refs;
    struct account *payer; /* of its cost; NULL: nobody */
    bool on_disk;          /* with --durable: from its flush to its end. The store thread's */
    struct extent_tie *tie;
    struct extent_pool *pool; /* NULL: the arena's */
    bool named;               /* in the pool, and none of its blocks */
};

/* The arena and its size are set before threads start; the rest is under lock. */
static struct {
    pthread_mutex_t lock;
    struct arena *arena;
    uint64_t bytes; /* that can be handed out */
    struct blocks blocks;
    uint64_t live; /* extents, empty ones too */
    bool frozen;   /* what is freed stays taken */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

int extent_init(struct arena *a, struct err *e)
{
    uint64_t bytes = (arena_size(a) - ARENA_HEADER_BYTES) / LIMIT_EXTENT_ALIGN_BYTES *
                     LIMIT_EXTENT_ALIGN_BYTES;

    if (blocks_init(&pool.blocks, sizeof(struct extent), ARENA_HEADER_BYTES, bytes, e) != 0)
        return -1;
    pool.arena = a;
    pool.bytes = bytes;
    pool.live = 0;
    return 0;
}

void extent_fini(void)
{
#ifndef NDEBUG
    for (const struct block *x = pool.blocks.first; x; x = x->after)
        if (!x->is_free)
            log_warn("extent at %llu of %llu bytes was never freed", (unsigned long long)x->offset,
                     (unsigned long long)x->size_bytes);
#endif
    blocks_fini(&pool.blocks);
    pool.arena = NULL;
    pool.bytes = pool.live = 0;
}

static uint64_t round_up(uint64_t size_bytes)
{
    return (size_bytes + LIMIT_EXTENT_ALIGN_BYTES - 1) & ~(uint64_t)(LIMIT_EXTENT_ALIGN_BYTES - 1);
}

uint64_t extent_cost(uint64_t size_bytes)
{
    if (size_bytes > pool.bytes)
        return size_bytes;
    return size_bytes ? round_up(size_bytes) : LIMIT_EXTENT_ALIGN_BYTES;
}

/* All but its block. */
static void start(struct extent *x, uint64_t size_bytes)
{
    x->size_bytes = size_bytes;
    x->payer = NULL;
    x->tie = NULL;
    x->on_disk = x->named = false;
    x->pool = NULL;
    atomic_init(&x->refs, 1);
}

static void start_pooled(struct extent *x, struct extent_pool *p, uint64_t size_bytes)
{
    start(x, size_bytes);
    x->pool = p;
}

/* Under the lock. Zero bytes: a node without a range, with a harmless offset. */
static struct extent *take(uint64_t size_bytes, struct err *e)
{
    struct block *block = size_bytes ? blocks_take(&pool.blocks, round_up(size_bytes), e)
                                     : blocks_node(&pool.blocks);
    struct extent *x = (struct extent *)block;

    if (!x) {
        if (size_bytes == 0)
            err_set(e, ERR_no_memory, "an extent");
        return NULL;
    }
    if (size_bytes == 0)
        block->offset = ARENA_HEADER_BYTES;
    start(x, size_bytes);
    pool.live++;
    return x;
}

/* Under the lock. */
static void give(struct extent *x)
{
    if (x->payer)
        account_give_back(x->payer, USE_arena, extent_cost(x->size_bytes));
    pool.live--;
    if (x->block.size_bytes)
        blocks_give(&pool.blocks, &x->block);
    else
        blocks_node_free(&pool.blocks, &x->block);
}

/* The numbers of a 507, for its detail and its members. */
static int say_full(uint64_t size_bytes, const char *why, struct err *e)
{
    struct extent_usage u;

    extent_usage(&u);
    err_set(e, ERR_arena_full,
            "%s: asked for %llu bytes; %llu of %llu are free, the largest piece has %llu. Delete "
            "results that are not needed, or start with a larger --arena-size",
            why, (unsigned long long)size_bytes, (unsigned long long)u.free_bytes,
            (unsigned long long)u.arena_bytes, (unsigned long long)u.largest_free_bytes);
    if (e) {
        e->asked_bytes = size_bytes;
        e->free_bytes = u.free_bytes;
    }
    return -1;
}

int extent_alloc(uint64_t size_bytes, struct extent **out, struct err *e)
{
    struct extent *x;
    struct err why = {0};

    if (size_bytes > pool.bytes)
        return say_full(size_bytes, "the arena is too small for this", e);
    pthread_mutex_lock(&pool.lock);
    x = take(size_bytes, &why);
    pthread_mutex_unlock(&pool.lock);
    if (!x && why.code == ERR_arena_full)
        return say_full(size_bytes, "the arena is full", e);
    if (!x)
        return err_set(e, why.code, "%s", why.detail);
    /* Outside the lock: new pages take milliseconds, and the range is ours alone by now. */
    if (arena_reserve(pool.arena, x->block.offset, x->block.size_bytes, &why) != 0) {
        extent_unref(x);
        return say_full(size_bytes, why.detail, e);
    }
    *out = x;
    return 0;
}

void extent_warm(uint64_t size_bytes)
{
    uint64_t offset = 0, bytes = 0;
    struct extent *x = NULL;
    struct err why;

    if (size_bytes == 0 || size_bytes > pool.bytes)
        return;
    pthread_mutex_lock(&pool.lock);
    x = take(size_bytes, &why);
    if (x) {
        offset = x->block.offset;
        bytes = x->block.size_bytes;
        give(x);
    }
    pthread_mutex_unlock(&pool.lock);
    if (x)
        arena_reserve(pool.arena, offset, bytes, &why);
}

int extent_alloc_for(struct account *a, uint64_t size_bytes, struct extent **out, struct err *e)
{
    if (account_take(a, USE_arena, extent_cost(size_bytes), e) != 0)
        return -1;
    if (extent_alloc(size_bytes, out, e) != 0) {
        account_give_back(a, USE_arena, extent_cost(size_bytes));
        return -1;
    }
    (*out)->payer = a;
    return 0;
}

void extent_charge(struct extent *x, struct account *a)
{
    if (!x || x->payer)
        return;
    account_force(a, USE_arena, extent_cost(x->size_bytes));
    x->payer = a;
}

void extent_paid(struct extent *x, struct account *a)
{
    x->payer = a;
}

/* Under the lock: a second reference to a live extent, if the range is exactly it. */
static struct extent *adopt_again(struct block *block, uint64_t offset, uint64_t size_bytes,
                                  struct err *e)
{
    struct extent *x = (struct extent *)block;
    unsigned refs = atomic_load(&x->refs);

    if (block->offset == offset && x->size_bytes == size_bytes)
        while (refs != 0)
            if (atomic_compare_exchange_weak(&x->refs, &refs, refs + 1))
                return x;
    err_set(e, ERR_arena, "the range of %llu bytes at %llu overlaps a live extent",
            (unsigned long long)size_bytes, (unsigned long long)offset);
    return NULL;
}

static struct extent *adopt(uint64_t offset, uint64_t size_bytes, struct err *e)
{
    struct block *block;
    struct extent *x;

    if (size_bytes == 0)
        return take(0, e);
    block = blocks_find(&pool.blocks, offset);
    if (block && !block->is_free)
        return adopt_again(block, offset, size_bytes, e);
    x = (struct extent *)blocks_take_at(&pool.blocks, offset, round_up(size_bytes), e);
    if (!x)
        return NULL;
    start(x, size_bytes);
    x->on_disk = true; /* what a row names was flushed before it */
    pool.live++;
    return x;
}

int extent_adopt(uint64_t offset, uint64_t size_bytes, struct extent **out, struct err *e)
{
    struct extent *x;

    if (offset % LIMIT_EXTENT_ALIGN_BYTES || size_bytes > pool.bytes)
        return err_set(e, ERR_arena, "%llu bytes at %llu cannot be an extent",
                       (unsigned long long)size_bytes, (unsigned long long)offset);
    pthread_mutex_lock(&pool.lock);
    x = adopt(offset, size_bytes, e);
    pthread_mutex_unlock(&pool.lock);
    if (!x)
        return -1;
    *out = x;
    return 0;
}

struct extent *extent_ref(struct extent *x)
{
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    return x;
}

/* The pool may be gone afterwards. */
static void give_to_pool(struct extent *x)
{
    struct extent_pool *p = x->pool;

    if (x->named) {
        free(x);
    } else {
        pthread_mutex_lock(&p->lock);
        if (x->block.size_bytes)
            blocks_give(&p->blocks, &x->block);
        else
            blocks_node_free(&p->blocks, &x->block);
        pthread_mutex_unlock(&p->lock);
    }
    p->freed(p);
}

void extent_unref(struct extent *x)
{
    struct extent_tie *tie;

    if (!x || atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    tie = x->tie;
    if (x->pool) {
        give_to_pool(x);
    } else {
        pthread_mutex_lock(&pool.lock);
        if (!pool.frozen)
            give(x);
        pthread_mutex_unlock(&pool.lock);
    }
    if (tie)
        tie->gone(tie);
}

void extent_tie(struct extent *x, struct extent_tie *t)
{
    x->tie = t;
}

struct extent_tie *extent_tied(const struct extent *x)
{
    return x->tie;
}

void extent_freeze(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.frozen = true;
    pthread_mutex_unlock(&pool.lock);
}

void extent_shrink(struct extent *x, uint64_t size_bytes)
{
    if (size_bytes >= x->size_bytes)
        return;
    pthread_mutex_lock(&pool.lock);
    if (size_bytes == 0) {
        /* The handle must live on without a range: its block keeps one unit. */
        if (x->block.size_bytes > LIMIT_EXTENT_ALIGN_BYTES)
            blocks_trim(&pool.blocks, &x->block, LIMIT_EXTENT_ALIGN_BYTES);
    } else if (round_up(size_bytes) < x->block.size_bytes) {
        blocks_trim(&pool.blocks, &x->block, round_up(size_bytes));
    }
    if (x->payer)
        account_give_back(x->payer, USE_arena,
                          extent_cost(x->size_bytes) - extent_cost(size_bytes));
    x->size_bytes = size_bytes;
    pthread_mutex_unlock(&pool.lock);
}

uint8_t *extent_bytes(const struct extent *x)
{
    return arena_base(pool.arena) + x->block.offset;
}

uint64_t extent_offset(const struct extent *x)
{
    return x->block.offset;
}

uint64_t extent_size(const struct extent *x)
{
    return x->size_bytes;
}

void extent_usage(struct extent_usage *out)
{
    pthread_mutex_lock(&pool.lock);
    *out = (struct extent_usage){
        .arena_bytes = pool.bytes,
        .used_bytes = pool.bytes - pool.blocks.free_bytes,
        .free_bytes = pool.blocks.free_bytes,
        .largest_free_bytes = blocks_largest(&pool.blocks),
        .extents = pool.live,
    };
    pthread_mutex_unlock(&pool.lock);
    out->reserved_bytes = arena_reserved_bytes(pool.arena);
}

/* ---- other memory ---- */

int extent_pool_init(struct extent_pool *p, uint64_t offset, uint64_t size_bytes,
                     void (*freed)(struct extent_pool *p), struct err *e)
{
    if (blocks_init(&p->blocks, sizeof(struct extent), offset, size_bytes, e) != 0)
        return -1;
    pthread_mutex_init(&p->lock, NULL);
    p->freed = freed;
    return 0;
}

void extent_pool_fini(struct extent_pool *p)
{
    blocks_fini(&p->blocks);
    pthread_mutex_destroy(&p->lock);
}

int extent_pool_take(struct extent_pool *p, uint64_t size_bytes, struct extent **out, struct err *e)
{
    struct block *block;
    struct extent *x;
    uint64_t left;

    pthread_mutex_lock(&p->lock);
    left = p->blocks.free_bytes;
    block = size_bytes ? blocks_take(&p->blocks, round_up(size_bytes), e) : blocks_node(&p->blocks);
    if (block && size_bytes == 0)
        block->offset = p->blocks.first->offset;
    pthread_mutex_unlock(&p->lock);
    x = (struct extent *)block;
    if (!x && size_bytes == 0)
        return err_set(e, ERR_no_memory, "an extent");
    if (!x)
        return e->code != ERR_arena_full
                   ? -1
                   : err_set(e, ERR_arena_full,
                             "the results region has %llu bytes free, and no piece of %llu: delete "
                             "results that lie there, or open a larger one",
                             (unsigned long long)left, (unsigned long long)size_bytes);
    start_pooled(x, p, size_bytes);
    *out = x;
    return 0;
}

int extent_pool_name(struct extent_pool *p, uint64_t offset, uint64_t size_bytes,
                     struct extent **out, struct err *e)
{
    struct extent *x = calloc(1, sizeof *x);

    if (!x)
        return err_set(e, ERR_no_memory, "an extent");
    x->block.offset = offset;
    start_pooled(x, p, size_bytes);
    x->named = true;
    *out = x;
    return 0;
}

struct extent_pool *extent_pool_of(const struct extent *x)
{
    return x->pool;
}

/* ---- to the disk ---- */

bool extent_on_disk(const struct extent *x)
{
    return x->on_disk || x->size_bytes == 0 || x->pool; /* there is no disk below a pool */
}

static int by_offset(const void *a, const void *b)
{
    uint64_t left = extent_offset(*(struct extent *const *)a);
    uint64_t right = extent_offset(*(struct extent *const *)b);

    return (left > right) - (left < right);
}

/* A flush costs what the disk takes to answer, however short it is: a long one is better than many
 * short ones, unless others' bytes in between cost more. */
int extent_flush(struct extent **x, size_t n, struct err *e)
{
    qsort(x, n, sizeof *x, by_offset);
    for (size_t i = 0, next; i < n; i = next) {
        uint64_t from = extent_offset(x[i]), to = from + x[i]->size_bytes;

        for (next = i + 1; next < n && extent_offset(x[next]) < to + FLUSH_GAP_BYTES; next++) {
            if (extent_offset(x[next]) + x[next]->size_bytes > to)
                to = extent_offset(x[next]) + x[next]->size_bytes;
        }
        if (arena_flush(pool.arena, from, to - from, e) != 0)
            return -1;
        for (size_t k = i; k < next; k++)
            x[k]->on_disk = true;
    }
    return 0;
}

int extent_check(struct err *e)
{
    int rc;

    pthread_mutex_lock(&pool.lock);
    rc = blocks_check(&pool.blocks, ARENA_HEADER_BYTES, pool.bytes, e);
    pthread_mutex_unlock(&pool.lock);
    return rc;
}
