/* group.h - named, ordered lists of distinct world ranks.
 *
 * Written on the core thread only (after the store has them); read from any thread, behind one
 * mutex (named in ARCHITECTURE.md). `world` is always there and is not stored.
 *
 * Accounts have groups of their own: a full name is "alice/pair", "alice/world" is the world as
 * alice sees it, and what has no account before it is everybody's. Everything below takes full
 * names but where it says otherwise.
 */
#ifndef TUTTI_SERVER_GROUP_H
#define TUTTI_SERVER_GROUP_H

#include "schema/error.h"
#include "schema/limits.h"
#include "server/account.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct group {
    char name[LIMIT_FULL_GROUP_BYTES + 1]; /* full; "" for a list */
    uint64_t created_us;                   /* wall */
    uint32_t n;
    uint32_t ranks[LIMIT_RANKS]; /* world ranks; ranks[0] is the root */
};

int group_table_init(uint32_t world_size, struct err *e);
void group_table_fini(void);

uint32_t group_world_size(void);

/* Whose it is, the account's name in out; and what is left of it without. */
void group_account(const char *full, char out[LIMIT_ACCOUNT_BYTES + 1]);
const char *group_short(const char *full);

/* Its account, made if need be. NULL: out of memory. */
struct account *group_owner(const char *full);

/* The full name of an account's group, "" when it is longer than any. */
void group_full(const struct account *a, const char *name, char out[LIMIT_FULL_GROUP_BYTES + 1]);

/* Is it the world, of whichever account? */
bool group_is_world(const char *full);

/* Is it a short name: [A-Za-z][A-Za-z0-9_.-]{0,63}? Returns 0, or -1 with ERR_group_invalid. */
int group_check_name(const char *name, size_t len, struct err *e);

/* Ranks distinct, inside the world, at least one, at most LIMIT_RANKS?
 * Returns 0, or -1 with ERR_group_invalid and a pointer. */
int group_check_ranks(const uint32_t *ranks, uint32_t n, struct err *e);

/* A copy of the group called name[0..len). Returns 0, or -1 with ERR_group_unknown. */
int group_find(const char *name, size_t len, struct group *out, struct err *e);

/* (core) Adds it. Returns 1 when the same group with the same ranks is there already, 0 when it was
 * added, -1 with ERR_group_exists or ERR_too_many_groups. */
int group_add(const struct group *g, struct err *e);

/* (core) Returns 0, or -1 with ERR_group_unknown or ERR_group_protected. Jobs keep their own ranks.
 */
int group_remove(const char *name, struct err *e);

/* (core) The same at a start: limits that have become smaller since refuse nothing. */
int group_restore(const struct group *g, struct err *e);

/* Up to max groups of an account (NULL: of all) by name after `after` ("" from the start; world
 * comes first). Returns how many. */
uint32_t group_list(const struct account *a, const char *after, struct group *out, uint32_t max);

#endif
