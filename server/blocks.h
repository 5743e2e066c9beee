/* blocks.h - the allocator's bookkeeping: blocks that tile a range, free ones sorted into bins.
 *
 * Two-level segregated fit (Masmano et al. 2004) with its nodes outside the memory they describe.
 * Knows neither the arena nor threads: extent.c holds the one lock. Offsets and sizes are bytes,
 * multiples of LIMIT_EXTENT_ALIGN_BYTES.
 *
 * The free blocks are indexed in one of two ways, and a call that needs the other one changes over
 * in one walk: `bins` for taking any block that is large enough, O(1); `tree` (all blocks by
 * offset) for taking an exact range at recovery, O(log n).
 */
#ifndef TUTTI_SERVER_BLOCKS_H
#define TUTTI_SERVER_BLOCKS_H

#include "schema/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_PAGE_BYTES 4096u
#define BLOCK_PAGED_BYTES (1u << 20) /* a block of this size or more starts on a page */

struct block {
    uint64_t offset, size_bytes;
    struct block *before, *after; /* neighbours by address; after chains spare nodes too */
    struct block *left, *right;   /* bins: previous and next in the bin; tree: children */
    bool is_free;
};

#define BLOCKS_LEVELS 59 /* of log2, in units of 64 bytes: sizes below 2^63 */
#define BLOCKS_STEPS 32  /* equal parts of one level */

struct blocks {
    size_t node_bytes; /* a struct that begins with a struct block */
    struct block *spare;
    struct slab *slabs;
    struct block *first; /* by address */
    uint64_t free_bytes;
    bool by_tree;
    struct block *root; /* of the tree */
    uint64_t levels;    /* bit l: some bit of steps[l] is set */
    uint32_t steps[BLOCKS_LEVELS];
    struct block *bins[BLOCKS_LEVELS][BLOCKS_STEPS];
};

/* One free block [offset, offset+size_bytes). Returns 0, or -1 with ERR_no_memory. */
int blocks_init(struct blocks *b, size_t node_bytes, uint64_t offset, uint64_t size_bytes,
                struct err *e);
void blocks_fini(struct blocks *b);

/* size_bytes > 0 from the smallest class that has it, at the low end of the block found.
 * NULL with ERR_arena_full or ERR_no_memory. */
struct block *blocks_take(struct blocks *b, uint64_t size_bytes, struct err *e);

/* Exactly that range, out of one free block. NULL with ERR_arena when part of it is taken or
 * outside, or ERR_no_memory. */
struct block *blocks_take_at(struct blocks *b, uint64_t offset, uint64_t size_bytes, struct err *e);

/* The block, free or not, that offset lies in; NULL outside. */
struct block *blocks_find(struct blocks *b, uint64_t offset);

/* Frees a taken block and joins it with free neighbours. */
void blocks_give(struct blocks *b, struct block *x);

/* Frees the tail of a taken block; nothing happens when there is no memory for a node. */
void blocks_trim(struct blocks *b, struct block *x, uint64_t size_bytes);

/* The largest size that blocks_take would find now. */
uint64_t blocks_largest(struct blocks *b);

/* A zeroed node that stands for no range, and back. */
struct block *blocks_node(struct blocks *b);
void blocks_node_free(struct blocks *b, struct block *x);

/* Do the blocks tile [offset, offset+size_bytes), no two free neighbours, every free one in its
 * bin, the sum right? Returns 0, or -1 with ERR_internal and what is broken. */
int blocks_check(struct blocks *b, uint64_t offset, uint64_t size_bytes, struct err *e);

#endif
