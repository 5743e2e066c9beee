/* group.c - the table of named groups: one sorted array, and the world. */
#include "server/group.h"

#include "schema/clock.h"
#include "server/core.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* As small as its ranks; a struct group has room for LIMIT_RANKS. */
struct entry {
    char name[LIMIT_GROUP_NAME_BYTES + 1];
    uint64_t created_us;
    uint32_t n;
    uint32_t ranks[];
};

/* world_size and created_us are set before threads start; the rest is under lock. */
static struct {
    pthread_mutex_t lock;
    uint32_t world_size;
    uint64_t created_us;
    struct entry **entries; /* by name */
    uint32_t n, cap;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

int group_table_init(uint32_t world_size, struct err *e)
{
    if (world_size == 0 || world_size > LIMIT_RANKS)
        return err_set(e, ERR_option, "a world has 1 to %d ranks, not %u", LIMIT_RANKS, world_size);
    table.world_size = world_size;
    table.created_us = clock_wall_us();
    table.entries = NULL;
    table.n = table.cap = 0;
    return 0;
}

void group_table_fini(void)
{
    for (uint32_t i = 0; i < table.n; i++)
        free(table.entries[i]);
    free(table.entries);
    table.entries = NULL;
    table.n = table.cap = 0;
}

uint32_t group_world_size(void)
{
    return table.world_size;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

int group_check_name(const char *name, size_t len, struct err *e)
{
    bool good = len >= 1 && len <= LIMIT_GROUP_NAME_BYTES && is_letter(name[0]);

    for (size_t i = 1; good && i < len; i++)
        good = is_letter(name[i]) || (name[i] >= '0' && name[i] <= '9') || name[i] == '_' ||
               name[i] == '.' || name[i] == '-';
    if (!good)
        return err_set(
            e, ERR_group_invalid,
            "a group's name is a letter and then up to %d letters, digits, '_', '.' or '-'",
            LIMIT_GROUP_NAME_BYTES - 1);
    return 0;
}

int group_check_ranks(const uint32_t *ranks, uint32_t n, struct err *e)
{
    uint64_t seen[LIMIT_RANKS / 64] = {0};

    if (n == 0 || n > LIMIT_RANKS) {
        err_set(e, ERR_group_invalid, "a group has 1 to %d ranks, not %u", LIMIT_RANKS, n);
        return err_pointer(e, "/ranks");
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = ranks[i];

        if (rank >= table.world_size) {
            err_set(e, ERR_group_invalid, "rank %u is not in the world: its ranks are 0 to %u",
                    rank, table.world_size - 1);
            return err_pointer(e, "/ranks/%u", i);
        }
        if (seen[rank / 64] >> rank % 64 & 1) {
            err_set(e, ERR_group_invalid, "rank %u is there twice", rank);
            return err_pointer(e, "/ranks/%u", i);
        }
        seen[rank / 64] |= 1ull << rank % 64;
    }
    return 0;
}

static bool is_world(const char *name, size_t len)
{
    return len == 5 && memcmp(name, "world", 5) == 0;
}

static void copy_world(struct group *out)
{
    strcpy(out->name, "world");
    out->created_us = table.created_us;
    out->n = table.world_size;
    for (uint32_t i = 0; i < out->n; i++)
        out->ranks[i] = i;
}

/* What lies behind ranks[n] is left as it is: a list copies many. */
static void copy_entry(struct group *out, const struct entry *g)
{
    memcpy(out->name, g->name, sizeof out->name);
    out->created_us = g->created_us;
    out->n = g->n;
    memcpy(out->ranks, g->ranks, g->n * sizeof g->ranks[0]);
}

/* Under the lock: the place of the first name that is not less. */
static uint32_t place_of(const char *name)
{
    uint32_t low = 0, high = table.n;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (strcmp(table.entries[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Under the lock. */
static bool is_at(uint32_t i, const char *name)
{
    return i < table.n && strcmp(table.entries[i]->name, name) == 0;
}

static int unknown(const char *name, size_t len, struct err *e)
{
    return err_set(e, ERR_group_unknown, "there is no group called \"%.*s\"",
                   len > LIMIT_GROUP_NAME_BYTES ? LIMIT_GROUP_NAME_BYTES : (int)len, name);
}

int group_find(const char *name, size_t len, struct group *out, struct err *e)
{
    char text[LIMIT_GROUP_NAME_BYTES + 1] = {0};
    bool found;
    uint32_t i;

    if (is_world(name, len)) {
        copy_world(out);
        return 0;
    }
    if (len == 0 || len > LIMIT_GROUP_NAME_BYTES || memchr(name, 0, len))
        return unknown("", 0, e);
    memcpy(text, name, len);
    pthread_mutex_lock(&table.lock);
    i = place_of(text);
    found = is_at(i, text);
    if (found)
        copy_entry(out, table.entries[i]);
    pthread_mutex_unlock(&table.lock);
    return found ? 0 : unknown(name, len, e);
}

static bool same_ranks(const struct group *g, uint32_t n, const uint32_t *ranks)
{
    return g->n == n && memcmp(g->ranks, ranks, n * sizeof *ranks) == 0;
}

static int exists(const struct group *g, struct err *e)
{
    return err_set(e, ERR_group_exists, "the group \"%s\" has other ranks: %stake another name",
                   g->name, strcmp(g->name, "world") == 0 ? "" : "delete it first, or ");
}

/* Under the lock: a hole at i. */
static int make_room(uint32_t i)
{
    if (table.n == table.cap) {
        uint32_t cap = table.cap ? 2 * table.cap : 16;
        struct entry **grown = realloc(table.entries, cap * sizeof(struct entry *));

        if (!grown)
            return -1;
        table.entries = grown;
        table.cap = cap;
    }
    memmove(table.entries + i + 1, table.entries + i, (table.n - i) * sizeof(struct entry *));
    table.n++;
    return 0;
}

/* Under the lock. */
static int add(const struct group *g, struct err *e)
{
    uint32_t i = place_of(g->name);
    struct entry *made;

    if (is_at(i, g->name))
        return same_ranks(g, table.entries[i]->n, table.entries[i]->ranks) ? 1 : exists(g, e);
    if (table.n >= LIMIT_GROUPS)
        return err_set(e, ERR_too_many_groups, "there are %d groups: delete one first",
                       LIMIT_GROUPS);
    made = calloc(1, sizeof *made + g->n * sizeof made->ranks[0]);
    if (!made || make_room(i) != 0) {
        free(made);
        return err_set(e, ERR_no_memory, "a group");
    }
    memcpy(made->name, g->name, sizeof made->name);
    made->created_us = g->created_us;
    made->n = g->n;
    memcpy(made->ranks, g->ranks, g->n * sizeof made->ranks[0]);
    table.entries[i] = made;
    return 0;
}

int group_add(const struct group *g, struct err *e)
{
    struct group world;
    int rc;

    assert(core_here());
    if (is_world(g->name, strlen(g->name))) {
        copy_world(&world);
        return same_ranks(g, world.n, world.ranks) ? 1 : exists(g, e);
    }
    pthread_mutex_lock(&table.lock);
    rc = add(g, e);
    pthread_mutex_unlock(&table.lock);
    return rc;
}

int group_remove(const char *name, struct err *e)
{
    uint32_t i;
    bool found;

    assert(core_here());
    if (is_world(name, strlen(name)))
        return err_set(e, ERR_group_protected, "the group \"world\" is always there");
    pthread_mutex_lock(&table.lock);
    i = place_of(name);
    found = is_at(i, name);
    if (found) {
        free(table.entries[i]);
        table.n--;
        memmove(table.entries + i, table.entries + i + 1, (table.n - i) * sizeof(struct entry *));
    }
    pthread_mutex_unlock(&table.lock);
    return found ? 0 : unknown(name, strlen(name), e);
}

uint32_t group_list(const char *after, struct group *out, uint32_t max)
{
    uint32_t n = 0, i = 0;

    if (max > 0 && after[0] == 0)
        copy_world(&out[n++]);
    pthread_mutex_lock(&table.lock);
    /* The world stands before all names, wherever its own name would sort. */
    if (after[0] != 0 && !is_world(after, strlen(after))) {
        i = place_of(after);
        i += is_at(i, after);
    }
    for (; n < max && i < table.n; i++)
        copy_entry(&out[n++], table.entries[i]);
    pthread_mutex_unlock(&table.lock);
    return n;
}
