/* blocks.c - two-level segregated fit over blocks whose nodes live on the heap. */
#include "server/blocks.h"

#include "schema/limits.h"

#include <stdlib.h>
#include <string.h>

#define UNIT LIMIT_EXTENT_ALIGN_BYTES
#define STEP_BITS 5 /* log2 of BLOCKS_STEPS */
#define SLAB_NODES 256
#define PEEK 8 /* blocks of a size's own bin looked at: bounds the time of a search */

struct slab {
    struct slab *next;
    max_align_t nodes[];
};

/* ---- nodes: never returned to malloc one by one, so churn leaves no holes ---- */

static int add_slab(struct blocks *b)
{
    struct slab *slab = malloc(sizeof *slab + SLAB_NODES * b->node_bytes);

    if (!slab)
        return -1;
    slab->next = b->slabs;
    b->slabs = slab;
    for (size_t i = 0; i < SLAB_NODES; i++)
        blocks_node_free(b, (struct block *)((char *)slab->nodes + i * b->node_bytes));
    return 0;
}

struct block *blocks_node(struct blocks *b)
{
    struct block *x;

    if (!b->spare && add_slab(b) != 0)
        return NULL;
    x = b->spare;
    b->spare = x->after;
    memset(x, 0, b->node_bytes);
    return x;
}

void blocks_node_free(struct blocks *b, struct block *x)
{
    x->after = b->spare;
    b->spare = x;
}

/* ---- bins ---- */

struct bin {
    uint32_t level, step;
};

/* The bin that a block of this size belongs in. Below 32 units each size has its own. */
static struct bin bin_of(uint64_t size_bytes)
{
    uint64_t units = size_bytes / UNIT;
    uint32_t log;

    if (units < BLOCKS_STEPS)
        return (struct bin){0, (uint32_t)units};
    log = 63 - (uint32_t)__builtin_clzll(units);
    return (struct bin){log - STEP_BITS + 1, (uint32_t)(units >> (log - STEP_BITS)) - BLOCKS_STEPS};
}

/* The size up to the next bin's lower end: any block there is large enough. */
static uint64_t round_to_bin(uint64_t size_bytes)
{
    uint64_t units = size_bytes / UNIT;
    uint32_t log;

    if (units < BLOCKS_STEPS)
        return size_bytes;
    log = 63 - (uint32_t)__builtin_clzll(units);
    return (units + (1ull << (log - STEP_BITS)) - 1) * UNIT;
}

static void bin_insert(struct blocks *b, struct block *x)
{
    struct bin at = bin_of(x->size_bytes);
    struct block **head = &b->bins[at.level][at.step];

    x->left = NULL;
    x->right = *head;
    if (*head)
        (*head)->left = x;
    *head = x; /* last freed, first reused: its pages are the warmest */
    b->steps[at.level] |= 1u << at.step;
    b->levels |= 1ull << at.level;
}

static void bin_remove(struct blocks *b, struct block *x)
{
    struct bin at = bin_of(x->size_bytes);

    if (x->right)
        x->right->left = x->left;
    if (x->left) {
        x->left->right = x->right;
        return;
    }
    b->bins[at.level][at.step] = x->right;
    if (x->right)
        return;
    b->steps[at.level] &= ~(1u << at.step);
    if (b->steps[at.level] == 0)
        b->levels &= ~(1ull << at.level);
}

/* First non-empty bin at or above. Returns the head, or NULL. */
static struct block *bin_search(const struct blocks *b, struct bin at)
{
    uint32_t steps = b->steps[at.level] & (~0u << at.step);
    uint64_t levels;

    if (steps == 0) {
        levels = at.level + 1 < 64 ? b->levels & (~0ull << (at.level + 1)) : 0;
        if (levels == 0)
            return NULL;
        at.level = (uint32_t)__builtin_ctzll(levels);
        steps = b->steps[at.level];
    }
    return b->bins[at.level][__builtin_ctz(steps)];
}

/* ---- tree: a treap by offset; its priorities are a hash of the offset ---- */

static uint64_t priority(const struct block *x)
{
    uint64_t h = x->offset * 0x9e3779b97f4a7c15ull;

    return (h ^ h >> 29) * 0xbf58476d1ce4e5b9ull;
}

static void tree_insert(struct blocks *b, struct block *x)
{
    struct block **at = &b->root, *rest, **low = &x->left, **high = &x->right;

    while (*at && priority(*at) >= priority(x))
        at = x->offset < (*at)->offset ? &(*at)->left : &(*at)->right;
    rest = *at;
    *at = x;
    while (rest) { /* what stood there is split around x */
        if (rest->offset < x->offset) {
            *low = rest;
            low = &rest->right;
            rest = rest->right;
        } else {
            *high = rest;
            high = &rest->left;
            rest = rest->left;
        }
    }
    *low = *high = NULL;
}

static void use_tree(struct blocks *b)
{
    if (b->by_tree)
        return;
    memset(b->bins, 0, sizeof b->bins);
    memset(b->steps, 0, sizeof b->steps);
    b->levels = 0;
    b->root = NULL;
    for (struct block *x = b->first; x; x = x->after)
        tree_insert(b, x);
    b->by_tree = true;
}

static void use_bins(struct blocks *b)
{
    if (!b->by_tree)
        return;
    b->root = NULL;
    b->by_tree = false;
    for (struct block *x = b->first; x; x = x->after)
        if (x->is_free)
            bin_insert(b, x);
}

/* ---- splitting and joining; bins and tree are the callers' ---- */

/* x keeps its first size_bytes; the rest becomes a block with the same is_free. NULL: no memory. */
static struct block *split(struct blocks *b, struct block *x, uint64_t size_bytes)
{
    struct block *rest = blocks_node(b);

    if (!rest)
        return NULL;
    rest->offset = x->offset + size_bytes;
    rest->size_bytes = x->size_bytes - size_bytes;
    rest->is_free = x->is_free;
    rest->before = x;
    rest->after = x->after;
    if (x->after)
        x->after->before = rest;
    x->after = rest;
    x->size_bytes = size_bytes;
    return rest;
}

/* x swallows its neighbour. */
static void join_after(struct blocks *b, struct block *x)
{
    struct block *gone = x->after;

    x->size_bytes += gone->size_bytes;
    x->after = gone->after;
    if (x->after)
        x->after->before = x;
    blocks_node_free(b, gone);
}

/* ---- the calls ---- */

int blocks_init(struct blocks *b, size_t node_bytes, uint64_t offset, uint64_t size_bytes,
                struct err *e)
{
    memset(b, 0, sizeof *b);
    b->node_bytes = (node_bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) *
                    sizeof(max_align_t);
    b->first = blocks_node(b);
    if (!b->first)
        return err_set(e, ERR_no_memory, "the arena's free list");
    b->first->offset = offset;
    b->first->size_bytes = size_bytes;
    b->first->is_free = true;
    b->free_bytes = size_bytes;
    bin_insert(b, b->first);
    return 0;
}

void blocks_fini(struct blocks *b)
{
    while (b->slabs) {
        struct slab *next = b->slabs->next;

        free(b->slabs);
        b->slabs = next;
    }
    memset(b, 0, sizeof *b);
}

/* Bytes to leave at the block's start so that a piece of size_bytes begins where it must. */
static uint64_t padding(const struct block *x, uint64_t size_bytes)
{
    return size_bytes < BLOCK_PAGED_BYTES ? 0 : -x->offset & (BLOCK_PAGE_BYTES - 1);
}

static bool fits(const struct block *x, uint64_t size_bytes)
{
    return x->size_bytes >= size_bytes && x->size_bytes - size_bytes >= padding(x, size_bytes);
}

/* First of at most `most` blocks of one bin that fits. */
static struct block *look(const struct blocks *b, struct bin at, uint64_t size_bytes, uint32_t most)
{
    struct block *x = b->bins[at.level][at.step];

    while (x && most-- > 0) {
        if (fits(x, size_bytes))
            return x;
        x = x->right;
    }
    return NULL;
}

/* First the size's own bin, where a block of this very size lies when one was freed just now; then
 * the head of the first bin whose blocks are all large enough; then, only when memory is nearly
 * used up, every block of the bins between. */
static struct block *find_fit(const struct blocks *b, uint64_t size_bytes)
{
    uint64_t enough = size_bytes < BLOCK_PAGED_BYTES ? size_bytes
                                                     : size_bytes + BLOCK_PAGE_BYTES - UNIT;
    struct bin sure = bin_of(round_to_bin(enough)), at = bin_of(size_bytes);
    struct block *found = look(b, at, size_bytes, PEEK);

    if (!found)
        found = bin_search(b, sure);
    while (!found && (at.level != sure.level || at.step != sure.step)) {
        found = look(b, at, size_bytes, UINT32_MAX);
        if (++at.step == BLOCKS_STEPS)
            at = (struct bin){at.level + 1, 0};
    }
    return found;
}

/* Cuts [offset, offset+size_bytes) out of the free block x, which is in no bin. In the tree x stays
 * where it is, whatever it becomes. NULL when there is no memory; x is then whole again. */
static struct block *carve(struct blocks *b, struct block *x, uint64_t offset, uint64_t size_bytes)
{
    struct block *head = x, *tail;

    if (offset > x->offset) {
        x = split(b, x, offset - x->offset);
        if (!x)
            return NULL;
    }
    if (x->size_bytes > size_bytes) {
        tail = split(b, x, size_bytes);
        if (!tail) {
            if (x != head)
                join_after(b, head);
            return NULL;
        }
        if (b->by_tree)
            tree_insert(b, tail);
        else
            bin_insert(b, tail);
    }
    if (b->by_tree && x != head)
        tree_insert(b, x);
    if (!b->by_tree && x != head)
        bin_insert(b, head);
    x->is_free = false;
    b->free_bytes -= size_bytes;
    return x;
}

struct block *blocks_take(struct blocks *b, uint64_t size_bytes, struct err *e)
{
    struct block *from, *x;

    use_bins(b);
    if (size_bytes > b->free_bytes || !(from = find_fit(b, size_bytes))) {
        err_set(e, ERR_arena_full, "no free piece is large enough");
        return NULL;
    }
    bin_remove(b, from);
    x = carve(b, from, from->offset + padding(from, size_bytes), size_bytes);
    if (!x) {
        bin_insert(b, from);
        err_set(e, ERR_no_memory, "a new extent");
    }
    return x;
}

struct block *blocks_find(struct blocks *b, uint64_t offset)
{
    struct block *x, *found = NULL;

    use_tree(b);
    for (x = b->root; x;) {
        if (x->offset <= offset) {
            found = x;
            x = x->right;
        } else {
            x = x->left;
        }
    }
    return found && offset - found->offset < found->size_bytes ? found : NULL;
}

struct block *blocks_take_at(struct blocks *b, uint64_t offset, uint64_t size_bytes, struct err *e)
{
    struct block *from = blocks_find(b, offset), *x;

    if (!from || !from->is_free || from->size_bytes - (offset - from->offset) < size_bytes) {
        err_set(e, ERR_arena, "the range of %llu bytes at %llu is taken or outside the arena",
                (unsigned long long)size_bytes, (unsigned long long)offset);
        return NULL;
    }
    x = carve(b, from, offset, size_bytes);
    if (!x)
        err_set(e, ERR_no_memory, "an extent");
    return x;
}

void blocks_give(struct blocks *b, struct block *x)
{
    use_bins(b);
    b->free_bytes += x->size_bytes;
    x->is_free = true;
    if (x->after && x->after->is_free) {
        bin_remove(b, x->after);
        join_after(b, x);
    }
    if (x->before && x->before->is_free) {
        x = x->before;
        bin_remove(b, x);
        join_after(b, x);
    }
    bin_insert(b, x);
}

void blocks_trim(struct blocks *b, struct block *x, uint64_t size_bytes)
{
    struct block *rest;

    use_bins(b);
    rest = split(b, x, size_bytes);
    if (rest)
        blocks_give(b, rest);
}

/* The largest piece that this free block can hold. */
static uint64_t usable(const struct block *x)
{
    uint64_t pad = -x->offset & (BLOCK_PAGE_BYTES - 1);

    if (x->size_bytes < BLOCK_PAGED_BYTES)
        return x->size_bytes;
    if (x->size_bytes - pad >= BLOCK_PAGED_BYTES)
        return x->size_bytes - pad;
    return BLOCK_PAGED_BYTES - UNIT;
}

uint64_t blocks_largest(struct blocks *b)
{
    uint64_t best = 0;

    use_bins(b);
    for (int level = BLOCKS_LEVELS - 1; level >= 0; level--) {
        for (int step = BLOCKS_STEPS - 1; step >= 0 && b->steps[level]; step--) {
            const struct block *head = b->bins[level][step];

            if (!head)
                continue;
            /* Nothing here or below can be larger than the next bin's lower end. */
            if (best >= round_to_bin(head->size_bytes + UNIT))
                return best;
            for (const struct block *x = head; x; x = x->right)
                if (usable(x) > best)
                    best = usable(x);
        }
    }
    return best;
}

/* ---- checking ---- */

static int check_bins(const struct blocks *b, uint64_t free_blocks, struct err *e)
{
    uint64_t seen = 0;

    for (uint32_t level = 0; level < BLOCKS_LEVELS; level++) {
        if ((b->steps[level] != 0) != (b->levels >> level & 1))
            return err_set(e, ERR_internal, "level bit %u is wrong", level);
        for (uint32_t step = 0; step < BLOCKS_STEPS; step++) {
            const struct block *x = b->bins[level][step];

            if ((x != NULL) != (b->steps[level] >> step & 1))
                return err_set(e, ERR_internal, "step bit %u.%u is wrong", level, step);
            for (; x && seen <= free_blocks; x = x->right, seen++) {
                struct bin at = bin_of(x->size_bytes);

                if (!x->is_free || at.level != level || at.step != step)
                    return err_set(e, ERR_internal, "a block of %llu bytes is in bin %u.%u",
                                   (unsigned long long)x->size_bytes, level, step);
            }
        }
    }
    if (seen != free_blocks)
        return err_set(e, ERR_internal, "%llu free blocks, %llu in bins",
                       (unsigned long long)free_blocks, (unsigned long long)seen);
    return 0;
}

int blocks_check(struct blocks *b, uint64_t offset, uint64_t size_bytes, struct err *e)
{
    uint64_t at = offset, free_bytes = 0, free_blocks = 0;

    use_bins(b);
    for (const struct block *x = b->first; x; x = x->after) {
        if (x->offset != at || x->size_bytes == 0 || x->size_bytes % UNIT ||
            (x->after && x->after->before != x))
            return err_set(e, ERR_internal, "blocks do not tile at %llu", (unsigned long long)at);
        if (x->is_free && x->after && x->after->is_free)
            return err_set(e, ERR_internal, "two free neighbours at %llu", (unsigned long long)at);
        if (x->is_free) {
            free_bytes += x->size_bytes;
            free_blocks++;
        }
        at += x->size_bytes;
    }
    if (at != offset + size_bytes)
        return err_set(e, ERR_internal, "blocks end at %llu", (unsigned long long)at);
    if (free_bytes != b->free_bytes)
        return err_set(e, ERR_internal, "free bytes %llu, counted %llu",
                       (unsigned long long)b->free_bytes, (unsigned long long)free_bytes);
    return check_bins(b, free_blocks, e);
}
