/* group.c - the table of named groups: one sorted array, and the world. */
#include "server/group.h"

#include "schema/clock.h"
#include "server/core.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As small as its ranks; a struct group has room for LIMIT_RANKS. */
struct entry {
    char name[LIMIT_FULL_GROUP_BYTES + 1];
    struct account *account;
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

const char *group_short(const char *full)
{
    const char *slash = strchr(full, '/');

    return slash ? slash + 1 : full;
}

void group_account(const char *full, char out[LIMIT_ACCOUNT_BYTES + 1])
{
    const char *slash = strchr(full, '/');
    size_t len = slash ? (size_t)(slash - full) : 0;

    len = len <= LIMIT_ACCOUNT_BYTES ? len : 0;
    memcpy(out, full, len);
    out[len] = '\0';
}

struct account *group_owner(const char *full)
{
    char name[LIMIT_ACCOUNT_BYTES + 1];

    group_account(full, name);
    return account_get(name);
}

void group_full(const struct account *a, const char *name, char out[LIMIT_FULL_GROUP_BYTES + 1])
{
    int len = snprintf(out, LIMIT_FULL_GROUP_BYTES + 1, "%s%s%s", a->name, a->name[0] ? "/" : "",
                       name);

    if (len > LIMIT_FULL_GROUP_BYTES)
        out[0] = '\0';
}

bool group_is_world(const char *full)
{
    return strcmp(group_short(full), "world") == 0;
}

static void copy_world(const char *name, struct group *out)
{
    memmove(out->name, name, strlen(name) + 1);
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
    const char *slash = memchr(name, '/', len), *shown = slash ? slash + 1 : name;

    len -= (size_t)(shown - name);
    return err_set(e, ERR_group_unknown, "there is no group called \"%.*s\"",
                   len > LIMIT_GROUP_NAME_BYTES ? LIMIT_GROUP_NAME_BYTES : (int)len, shown);
}

int group_find(const char *name, size_t len, struct group *out, struct err *e)
{
    char text[LIMIT_FULL_GROUP_BYTES + 1] = {0};
    bool found;
    uint32_t i;

    if (len == 0 || len > LIMIT_FULL_GROUP_BYTES || memchr(name, 0, len))
        return unknown("", 0, e);
    memcpy(text, name, len);
    if (group_is_world(text)) {
        copy_world(text, out);
        return 0;
    }
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
                   group_short(g->name), group_is_world(g->name) ? "" : "delete it first, or ");
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

/* Under the lock. The account has been counted. */
static int add_at(uint32_t i, const struct group *g, struct account *a, struct err *e)
{
    struct entry *made;

    made = calloc(1, sizeof *made + g->n * sizeof made->ranks[0]);
    if (!made || make_room(i) != 0) {
        free(made);
        return err_set(e, ERR_no_memory, "a group");
    }
    memcpy(made->name, g->name, sizeof made->name);
    made->account = a;
    made->created_us = g->created_us;
    made->n = g->n;
    memcpy(made->ranks, g->ranks, g->n * sizeof made->ranks[0]);
    table.entries[i] = made;
    return 0;
}

/* Under the lock. */
static int add(const struct group *g, bool restored, struct err *e)
{
    uint32_t i = place_of(g->name);
    struct account *a;

    if (is_at(i, g->name))
        return same_ranks(g, table.entries[i]->n, table.entries[i]->ranks) ? 1 : exists(g, e);
    if (table.n >= LIMIT_GROUPS && !restored)
        return err_set(e, ERR_too_many_groups, "there are %d groups: delete one first",
                       LIMIT_GROUPS);
    a = group_owner(g->name);
    if (!a)
        return err_set(e, ERR_no_memory, "an account");
    if (restored)
        account_force(a, USE_groups, 1);
    else if (account_take(a, USE_groups, 1, e) != 0)
        return -1;
    if (add_at(i, g, a, e) == 0)
        return 0;
    account_give_back(a, USE_groups, 1);
    return -1;
}

static int add_locked(const struct group *g, bool restored, struct err *e)
{
    struct group world;
    int rc;

    assert(core_here());
    if (group_is_world(g->name)) {
        copy_world(g->name, &world);
        return same_ranks(g, world.n, world.ranks) ? 1 : exists(g, e);
    }
    pthread_mutex_lock(&table.lock);
    rc = add(g, restored, e);
    pthread_mutex_unlock(&table.lock);
    return rc;
}

int group_add(const struct group *g, struct err *e)
{
    return add_locked(g, false, e);
}

int group_restore(const struct group *g, struct err *e)
{
    return add_locked(g, true, e);
}

int group_remove(const char *name, struct err *e)
{
    uint32_t i;
    bool found;

    assert(core_here());
    if (group_is_world(name))
        return err_set(e, ERR_group_protected, "the group \"world\" is always there");
    pthread_mutex_lock(&table.lock);
    i = place_of(name);
    found = is_at(i, name);
    if (found) {
        account_give_back(table.entries[i]->account, USE_groups, 1);
        free(table.entries[i]);
        table.n--;
        memmove(table.entries + i, table.entries + i + 1, (table.n - i) * sizeof(struct entry *));
    }
    pthread_mutex_unlock(&table.lock);
    return found ? 0 : unknown(name, strlen(name), e);
}

uint32_t group_list(const struct account *a, const char *after, struct group *out, uint32_t max)
{
    char prefix[LIMIT_ACCOUNT_BYTES + 2] = "";
    uint32_t n = 0, i;

    if (a && a->name[0])
        snprintf(prefix, sizeof prefix, "%s/", a->name);
    if (max > 0 && after[0] == 0)
        copy_world(a && a->name[0] ? strcat(strcpy(out[0].name, prefix), "world") : "world",
                   &out[n++]);
    pthread_mutex_lock(&table.lock);
    /* The world stands before all names, wherever its own name would sort. */
    if (after[0] != 0 && !group_is_world(after)) {
        i = place_of(after);
        i += is_at(i, after);
    } else {
        i = place_of(prefix);
    }
    for (; n < max && i < table.n; i++) {
        if (a && a != table.entries[i]->account) {
            if (prefix[0])
                break; /* they stand together */
            continue;
        }
        copy_entry(&out[n++], table.entries[i]);
    }
    pthread_mutex_unlock(&table.lock);
    return n;
}
