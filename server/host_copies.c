/* host_copies.c - copies of extents in the arenas of hosts: found, made, moved, dropped. */
#include "server/host.h"
#include "server/scheduler.h"
#include "schema/limits.h"

#include <assert.h>
#include <stdlib.h>

#define SPARE 4 /* a quarter of the arena is not for what is sent ahead; nor is a tensor larger */

/* What hangs on an extent: every copy of a part of it. */
struct tie {
    struct extent_tie base;
    struct core_msg msg;
    struct copy *copies;
};

static atomic_bool closed; /* nobody runs the core's inbox any more */

/* ---- by last use, of those that nobody uses ---- */

static void list_enter(struct copy *c)
{
    struct host *h = c->host;

    c->newer = NULL;
    c->older = h->newest;
    *(c->older ? &c->older->newer : &h->oldest) = c;
    h->newest = c;
}

static void list_leave(struct copy *c)
{
    *(c->newer ? &c->newer->older : &c->host->newest) = c->older;
    *(c->older ? &c->older->newer : &c->host->oldest) = c->newer;
}

/* ---- the end of a copy ---- */

static void untie(struct copy *c)
{
    struct copy **at;

    if (!c->tie)
        return;
    for (at = &c->tie->copies; *at != c;)
        at = &(*at)->next_tied;
    *at = c->next_tied;
    c->tie = NULL;
}

/* Nobody uses it, it is in no list, and nothing of it is on its way. */
static void drop(struct copy *c)
{
    struct host *h = c->host;

    assert(c->users == 0 && !c->extent);
    untie(c);
    atomic_fetch_sub(&h->used_bytes, c->block->size_bytes);
    blocks_give(&h->room, c->block);
    free(c);
    h->copies--;
    host_release(h);
}

/* What becomes of one that nobody uses any more. */
static void retire(struct copy *c)
{
    if (c->state == COPY_READY && c->tie && !c->host->closed)
        list_enter(c);
    else
        drop(c);
}

void copies_drop_unused(struct host *h)
{
    while (h->oldest) {
        struct copy *c = h->oldest;

        list_leave(c);
        drop(c);
    }
}

/* Jobs may wait for the room. */
static void say_freed(void)
{
    scheduler_freed();
    scheduler_next();
}

static void run_gone(struct core_msg *m)
{
    struct tie *t = CORE_OWNER(m, struct tie, msg);

    while (t->copies) {
        struct copy *c = t->copies;

        assert(c->users == 0); /* who uses one holds its tensor */
        list_leave(c);
        drop(c);
    }
    free(t);
    say_freed();
}

/* Any thread. */
static void extent_gone(struct extent_tie *base)
{
    struct tie *t = CORE_OWNER(base, struct tie, base);

    t->msg.run = run_gone;
    if (atomic_load(&closed)) {
        for (struct copy *c = t->copies; c; c = c->next_tied)
            c->tie = NULL;
        free(t);
    } else {
        core_post(&t->msg);
    }
}

void hosts_close(void)
{
    atomic_store(&closed, true);
}

/* ---- found, made ---- */

static struct tie *tie_of(const struct extent *x)
{
    struct extent_tie *base = extent_tied(x);

    return base ? CORE_OWNER(base, struct tie, base) : NULL;
}

static void use(struct copy *c)
{
    if (c->users++ > 0)
        return;
    if (c->state == COPY_READY) {
        list_leave(c);
    } else {
        atomic_store(&c->transfer.unwanted, false);
        c->host->leaving--;
    }
}

struct copy *copy_find(struct host *h, const struct tensor *t)
{
    const struct tie *tie = tie_of(t->extent);

    assert(core_here());
    for (struct copy *c = tie ? tie->copies : NULL; c; c = c->next_tied) {
        if (c->host != h || c->state == COPY_EMPTY || c->from > t->offset ||
            c->from + c->bytes < t->offset + t->size_bytes)
            continue;
        use(c);
        return c;
    }
    return NULL;
}

static struct tie *make_tie(struct extent *x)
{
    struct tie *t = tie_of(x);

    if (t)
        return t;
    t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->base.gone = extent_gone;
    extent_tie(x, &t->base);
    return t;
}

static uint64_t round_up(uint64_t bytes)
{
    return (bytes + LIMIT_EXTENT_ALIGN_BYTES - 1) & ~(uint64_t)(LIMIT_EXTENT_ALIGN_BYTES - 1);
}

static int say_full(const struct host *h, uint64_t bytes, struct err *e)
{
    err_set(e, ERR_arena_full,
            "the arena of host %s is full: asked for %llu bytes, and %llu of %llu are in use; "
            "start its workers with a larger --arena-size, or run fewer jobs at once",
            h->name, (unsigned long long)bytes, (unsigned long long)atomic_load(&h->used_bytes),
            (unsigned long long)(h->arena_bytes - ARENA_HEADER_BYTES));
    e->asked_bytes = bytes;
    e->free_bytes = h->room.free_bytes;
    return -1;
}

static struct block *make_room(struct host *h, uint64_t bytes, struct err *e)
{
    for (;;) {
        struct block *b = blocks_take(&h->room, round_up(bytes), e);
        struct copy *oldest = h->oldest;

        if (b || e->code != ERR_arena_full)
            return b;
        if (!oldest) {
            say_full(h, bytes, e);
            return NULL;
        }
        list_leave(oldest);
        drop(oldest);
    }
}

/* Takes the block. */
static struct copy *new_copy(struct host *h, const struct tensor *t, struct block *block,
                             struct err *e)
{
    struct copy *c = calloc(1, sizeof *c);
    struct tie *tie = c ? make_tie(t->extent) : NULL;

    if (!tie) {
        blocks_give(&h->room, block);
        free(c);
        err_set(e, ERR_no_memory, "a copy for another host");
        return NULL;
    }
    c->host = h;
    c->block = block;
    c->from = t->offset;
    c->bytes = t->size_bytes;
    c->users = 1;
    c->tie = tie;
    c->next_tied = tie->copies;
    tie->copies = c;
    h->copies++;
    atomic_fetch_add(&h->used_bytes, c->block->size_bytes);
    return c;
}

struct copy *copy_make(struct host *h, const struct tensor *t, struct err *e)
{
    struct block *block;

    assert(core_here() && !h->closed && t->size_bytes > 0);
    block = make_room(h, t->size_bytes, e);
    return block ? new_copy(h, t, block, e) : NULL;
}

uint64_t copy_offset(const struct copy *c, const struct tensor *t)
{
    return c->block->offset + (t->offset - c->from);
}

void copy_release(struct copy *c)
{
    assert(core_here() && c->users > 0);
    if (--c->users > 0)
        return;
    if (!c->extent) {
        retire(c);
        return;
    }
    atomic_store(&c->transfer.unwanted, true);
    c->host->leaving++;
}

/* ---- on their way ---- */

static void tell(struct copy *c, const struct err *why)
{
    struct copy_wait *waits = c->waits;

    c->waits = NULL;
    c->users++; /* whoever hears may let it go */
    while (waits) {
        struct copy_wait *w = waits;

        waits = w->next;
        w->done(w, why);
    }
    if (--c->users == 0)
        retire(c);
}

static void move(struct copy *c, enum transfer_way way, struct extent *x);

static void moved(struct transfer *t)
{
    struct copy *c = CORE_OWNER(t, struct copy, transfer);
    struct extent *x = c->extent;
    struct host *h = c->host;

    c->extent = NULL;
    if (t->rc != 0 && t->err.code == ERR_aborted && c->users > 0) {
        move(c, t->way, x); /* somebody wants it after all */
        extent_unref(x);
        return;
    }
    if (t->rc == 0 && t->way != TRANSFER_RESERVE)
        c->state = COPY_READY;
    else
        c->state = COPY_EMPTY;
    if (c->ahead) {
        c->ahead = false;
        if (--c->users == 0) {
            retire(c);
            extent_unref(x);
            return;
        }
    }
    if (c->users == 0) {
        h->leaving--;
        retire(c);
        say_freed();
    } else {
        tell(c, t->rc == 0 ? NULL : &t->err);
    }
    extent_unref(x);
}

static void move(struct copy *c, enum transfer_way way, struct extent *x)
{
    struct host *h = c->host;

    assert(!c->extent);
    c->extent = extent_ref(x);
    c->transfer = (struct transfer){.done = moved,
                                    .way = way,
                                    .at = extent_bytes(x) + c->from,
                                    .offset = c->block->offset,
                                    .bytes = c->bytes};
    channel_start(h->channel, &c->transfer);
}

static void add_wait(struct copy *c, struct copy_wait *w)
{
    w->next = c->waits;
    c->waits = w;
}

bool copy_bring(struct copy *c, struct extent *x, struct copy_wait *w)
{
    if (c->state == COPY_READY)
        return false;
    add_wait(c, w);
    if (c->state == COPY_EMPTY && !c->extent) {
        c->state = COPY_COMING;
        move(c, TRANSFER_OUT, x);
    }
    return true;
}

void copy_ahead(struct host *h, const struct tensor *t)
{
    struct block *block = NULL;
    struct copy *c = copy_find(h, t);
    struct err e;

    if (c) {
        copy_release(c);
        return;
    }
    if (h->room.free_bytes > h->arena_bytes / SPARE && t->size_bytes < h->arena_bytes / SPARE)
        block = blocks_take(&h->room, round_up(t->size_bytes), &e);
    c = block ? new_copy(h, t, block, &e) : NULL;
    if (!c)
        return;
    c->ahead = true;
    c->state = COPY_COMING;
    move(c, TRANSFER_OUT, t->extent);
}

void copy_reserve(struct copy *c, struct extent *x, struct copy_wait *w)
{
    add_wait(c, w);
    move(c, TRANSFER_RESERVE, x);
}

void copy_fetch(struct copy *c, struct extent *x, struct copy_wait *w)
{
    add_wait(c, w);
    move(c, TRANSFER_IN, x);
}

void copy_is_whole(struct copy *c)
{
    assert(!c->extent);
    c->state = COPY_READY;
}

void copy_forget(struct copy *c, struct copy_wait *w)
{
    struct copy_wait **at = &c->waits;

    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
}
