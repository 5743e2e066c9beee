/* region.c - regions by id: their memory, their place in the window, who has a piece. */
#include "server/region.h"

#include "schema/arena_header.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "server/blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static struct {
    struct arena *arena;
    uint64_t most_bytes;
    atomic_uint_least64_t used_bytes, count;
    pthread_mutex_t lock; /* of the rest but told and follower */
    struct blocks window;
    struct region *all;  /* that are not over */
    struct region *over; /* to be unmapped */
    void (*wake)(void);  /* whoever does it; NULL: nobody */
    struct region *told; /* core thread */
    const struct region_follower *_Atomic follower;
} regions = {.lock = PTHREAD_MUTEX_INITIALIZER};

int regions_init(struct arena *a, uint64_t most_bytes, struct err *e)
{
    regions.arena = a;
    regions.most_bytes = most_bytes;
    if (most_bytes == 0)
        return 0;
    return blocks_init(&regions.window, sizeof(struct block), arena_window_at(arena_size(a)),
                       arena_window_bytes(a), e);
}

/* ---- the end ---- */

static void region_free(struct region *r)
{
    uint64_t bytes = r->size_bytes;

    if (r->place) {
        arena_window_unmap(regions.arena, r->offset, bytes);
        pthread_mutex_lock(&regions.lock);
        blocks_give(&regions.window, r->place);
        pthread_mutex_unlock(&regions.lock);
    }
    if (r->fd >= 0)
        close(r->fd);
    extent_pool_fini(&r->pool);
    account_give_back(r->owner, USE_arena, bytes);
    atomic_fetch_sub(&regions.used_bytes, bytes);
    atomic_fetch_sub(&regions.count, 1);
    free(r);
}

void regions_sweep(void)
{
    struct region *r, *next;

    pthread_mutex_lock(&regions.lock);
    r = regions.over;
    regions.over = NULL;
    pthread_mutex_unlock(&regions.lock);
    for (; r; r = next) {
        next = r->next;
        region_free(r);
    }
}

void regions_swept_by(void (*wake)(void))
{
    pthread_mutex_lock(&regions.lock);
    regions.wake = wake;
    pthread_mutex_unlock(&regions.lock);
    if (!wake)
        regions_sweep();
}

/* Nobody has it: neither in the server, nor among workers, who were told. The sweeper is woken
 * under the lock, so that it does not leave meanwhile. */
static void hand_to_sweeper(struct region *r)
{
    bool swept;

    pthread_mutex_lock(&regions.lock);
    for (struct region **at = &regions.all; *at; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    swept = regions.wake != NULL;
    if (swept) {
        r->next = regions.over;
        regions.over = r;
        regions.wake();
    }
    pthread_mutex_unlock(&regions.lock);
    if (!swept)
        region_free(r);
}

static void run_gone(struct core_msg *m)
{
    struct region *r = CORE_OWNER(m, struct region, gone);
    const struct region_follower *f;

    for (struct region **at = &regions.told; *at; at = &(*at)->next_told) {
        if (*at == r) {
            *at = r->next_told;
            break;
        }
    }
    f = atomic_load(&regions.follower);
    if (f)
        f->gone(r);
    hand_to_sweeper(r);
}

void region_unref(struct region *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    r->gone.run = run_gone;
    if (atomic_load(&regions.follower))
        core_post(&r->gone);
    else
        hand_to_sweeper(r);
}

void region_leave(struct region *r)
{
    pthread_mutex_lock(&regions.lock);
    r->named = false;
    pthread_mutex_unlock(&regions.lock);
}

/* Workers and the core have ended by now: whatever was not told is not told any more. */
void regions_fini(void)
{
    regions_sweep();
    while (regions.all) {
        struct region *r = regions.all;

        regions.all = r->next;
        region_free(r);
    }
    if (regions.most_bytes)
        blocks_fini(&regions.window);
    regions.most_bytes = 0;
}

/* ---- the start ---- */

/* Nobody can make it shorter or longer, so no access can go past its end; and all pages are there,
 * so none can fail for want of memory. */
static int make_memory(struct region *r, struct err *e)
{
    int rc;

    r->fd = memfd_create(r->kind == REGION_inputs ? "tutti-inputs" : "tutti-results",
                         MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (r->fd < 0)
        return err_sys(e, ERR_no_memory, errno, "make a region");
    /* Who has a descriptor that reads has no way to one that writes, unless it is our user. */
    if (fchmod(r->fd, 0600) != 0 || ftruncate(r->fd, (off_t)r->size_bytes) != 0)
        return err_sys(e, ERR_no_memory, errno, "make a region");
    do {
        rc = fallocate(r->fd, 0, 0, (off_t)r->size_bytes);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return err_sys(e, ERR_arena_full, errno, "this machine has no memory for a region");
    if (fcntl(r->fd, F_ADD_SEALS, SEALS) != 0)
        return err_sys(e, ERR_no_memory, errno, "seal a region");
    return 0;
}

static int take_place(struct region *r, struct err *e)
{
    struct err why;

    pthread_mutex_lock(&regions.lock);
    r->place = blocks_take(&regions.window, r->size_bytes, &why);
    pthread_mutex_unlock(&regions.lock);
    if (!r->place)
        return err_set(e, ERR_arena_full, "no addresses are left for a region of %llu bytes",
                       (unsigned long long)r->size_bytes);
    r->offset = r->place->offset;
    return arena_window_map(regions.arena, r->offset, r->size_bytes, r->fd,
                            r->kind == REGION_results, e);
}

static int give_to_client(const struct region *r, int *client, struct err *e)
{
    char path[40];

    snprintf(path, sizeof path, "/proc/self/fd/%d", r->fd);
    *client = r->kind == REGION_inputs ? fcntl(r->fd, F_DUPFD_CLOEXEC, 0)
                                       : open(path, O_RDONLY | O_CLOEXEC);
    return *client >= 0 ? 0 : err_sys(e, ERR_no_memory, errno, "a descriptor for a region");
}

static void freed(struct extent_pool *p)
{
    region_unref(CORE_OWNER(p, struct region, pool));
}

static int count_in(struct account *owner, uint64_t bytes, struct err *e)
{
    uint64_t used = atomic_load(&regions.used_bytes);

    do {
        if (bytes > regions.most_bytes || used > regions.most_bytes - bytes)
            return err_set(e, ERR_arena_full,
                           "the lane has %llu bytes in all: %llu are in use, and %llu more are "
                           "asked; close regions, or start with a larger --lane-size",
                           (unsigned long long)regions.most_bytes, (unsigned long long)used,
                           (unsigned long long)bytes);
    } while (!atomic_compare_exchange_weak(&regions.used_bytes, &used, used + bytes));
    if (account_take(owner, USE_arena, bytes, e) != 0)
        goto fail;
    if (atomic_fetch_add(&regions.count, 1) < LIMIT_REGIONS)
        return 0;
    atomic_fetch_sub(&regions.count, 1);
    account_give_back(owner, USE_arena, bytes);
    err_set(e, ERR_arena_full, "the lane has %d regions already", LIMIT_REGIONS);
fail:
    atomic_fetch_sub(&regions.used_bytes, bytes);
    return -1;
}

static void run_born(struct core_msg *m)
{
    struct region *r = CORE_OWNER(m, struct region, born);
    const struct region_follower *f = atomic_load(&regions.follower);

    if (!f)
        return;
    r->next_told = regions.told;
    regions.told = r;
    f->born(r);
}

int region_make(enum region_kind kind, struct account *owner, uint64_t size_bytes,
                struct region **out, int *client, struct err *e)
{
    uint64_t bytes = (size_bytes + LIMIT_CHUNK_BYTES - 1) / LIMIT_CHUNK_BYTES * LIMIT_CHUNK_BYTES;
    struct region *r;

    if (bytes == 0 || bytes < size_bytes)
        return err_set(e, ERR_parameter_range, "a region has at least one byte, and a size");
    r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_no_memory, "a region");
    *r = (struct region){
        .id = id_new(), .kind = kind, .owner = owner, .size_bytes = bytes, .fd = -1, .named = true};
    atomic_init(&r->refs, 1);
    if (count_in(owner, bytes, e) != 0) {
        free(r);
        return -1;
    }
    if (make_memory(r, e) != 0 || take_place(r, e) != 0 ||
        extent_pool_init(&r->pool, r->offset, bytes, freed, e) != 0 ||
        give_to_client(r, client, e) != 0) {
        region_free(r);
        return -1;
    }
    pthread_mutex_lock(&regions.lock);
    r->next = regions.all;
    regions.all = r;
    pthread_mutex_unlock(&regions.lock);
    r->born.run = run_born;
    if (atomic_load(&regions.follower))
        core_post(&r->born); /* and so before whatever a client sends that knows of it */
    *out = r;
    return 0;
}

/* ---- who has a piece ---- */

struct region *region_find(const struct id *id, const struct account *scope)
{
    struct region *r;

    if (!regions_any())
        return NULL;
    pthread_mutex_lock(&regions.lock);
    for (r = regions.all; r && !id_equal(&r->id, id);)
        r = r->next;
    if (r && r->named && (!scope || scope == r->owner))
        region_ref(r); /* its client's reference is there: it cannot be over */
    else
        r = NULL;
    pthread_mutex_unlock(&regions.lock);
    return r;
}

struct region *region_ref(struct region *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

int region_piece(struct region *r, uint64_t at, uint64_t size_bytes, struct extent **out,
                 struct err *e)
{
    if (size_bytes == 0)
        at = 0; /* the end has an address, but no byte */
    if (extent_pool_name(&r->pool, r->offset + at, size_bytes, out, e) != 0)
        return -1;
    region_ref(r); /* freed() */
    return 0;
}

int region_take(struct region *r, uint64_t size_bytes, struct extent **out, struct err *e)
{
    if (extent_pool_take(&r->pool, size_bytes, out, e) != 0)
        return -1;
    region_ref(r);
    return 0;
}

struct region *region_of(const struct extent *x)
{
    struct extent_pool *p = x ? extent_pool_of(x) : NULL;

    return p ? CORE_OWNER(p, struct region, pool) : NULL;
}

bool region_is_written(const struct extent *x)
{
    const struct region *r = region_of(x);

    return r && r->kind == REGION_inputs;
}

bool region_is_left(struct region *r)
{
    bool named;

    pthread_mutex_lock(&regions.lock);
    named = r->named;
    pthread_mutex_unlock(&regions.lock);
    return !named;
}

bool region_is_used(const struct region *r)
{
    return atomic_load_explicit(&r->refs, memory_order_relaxed) > 1;
}

bool regions_any(void)
{
    return atomic_load_explicit(&regions.count, memory_order_relaxed) > 0;
}

void region_usage(struct region_usage *out)
{
    *out = (struct region_usage){.size_bytes = regions.most_bytes,
                                 .used_bytes = atomic_load(&regions.used_bytes),
                                 .regions = atomic_load(&regions.count)};
}

/* ---- workers ---- */

void regions_follow(const struct region_follower *f)
{
    atomic_store(&regions.follower, f);
    if (!f)
        regions.told = NULL;
}

void regions_each(void (*f)(const struct region *r, void *arg), void *arg)
{
    for (struct region *r = regions.told; r; r = r->next_told)
        f(r, arg);
}
