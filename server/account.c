/* account.c - the list of accounts, and counting against their limits. */
#include "server/account.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *what;
} uses[USE_COUNT] = {
    [USE_arena] = {"arena", "bytes of the arena"}, [USE_jobs] = {"jobs", "unfinished jobs"},
    [USE_waits] = {"waits", "requests that wait"}, [USE_streams] = {"streams", "event streams"},
    [USE_groups] = {"groups", "groups"},           [USE_keys] = {"keys", "keys"},
};

#define NO_LIMITS                                                                                 \
    {                                                                                             \
        ACCOUNT_NO_LIMIT, ACCOUNT_NO_LIMIT, ACCOUNT_NO_LIMIT, ACCOUNT_NO_LIMIT, ACCOUNT_NO_LIMIT, \
            ACCOUNT_NO_LIMIT                                                                      \
    }

static struct account everybody = {.most = NO_LIMITS};

/* Pushed with a compare-and-swap, never taken out: readers need no lock. */
static struct account *_Atomic first = &everybody;

struct account *account_everybody(void)
{
    return &everybody;
}

static struct account *newest(void)
{
    return atomic_load_explicit(&first, memory_order_acquire);
}

static struct account *find(struct account *from, const struct account *until, const char *name)
{
    for (struct account *a = from; a && a != until; a = a->next) {
        if (strcmp(a->name, name) == 0)
            return a;
    }
    return NULL;
}

struct account *account_find(const char *name)
{
    return find(newest(), NULL, name);
}

struct account *account_get(const char *name)
{
    struct account *seen = newest(), *a = find(seen, NULL, name), *made;

    if (a)
        return a;
    assert(strlen(name) <= LIMIT_ACCOUNT_BYTES);
    made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    snprintf(made->name, sizeof made->name, "%s", name);
    for (int u = 0; u < USE_COUNT; u++)
        atomic_init(&made->most[u], ACCOUNT_NO_LIMIT);
    made->next = seen;
    while (!atomic_compare_exchange_weak(&first, &made->next, made)) {
        a = find(made->next, seen, name); /* somebody else made it meanwhile */
        if (a) {
            free(made);
            return a;
        }
    }
    return made;
}

const char *account_use_name(enum use u)
{
    return u < USE_COUNT ? uses[u].name : NULL;
}

int account_take(struct account *a, enum use u, uint64_t n, struct err *e)
{
    uint64_t used = atomic_load_explicit(&a->used[u], memory_order_relaxed);
    uint64_t most = atomic_load_explicit(&a->most[u], memory_order_relaxed);

    do {
        if (n > most || used > most - n)
            return err_set(e, ERR_quota,
                           "%s may have %llu %s at once: %llu are in use, and %llu more are asked",
                           a->name[0] ? a->name : "everybody", (unsigned long long)most,
                           uses[u].what, (unsigned long long)used, (unsigned long long)n);
    } while (!atomic_compare_exchange_weak_explicit(&a->used[u], &used, used + n,
                                                    memory_order_relaxed, memory_order_relaxed));
    return 0;
}

void account_force(struct account *a, enum use u, uint64_t n)
{
    atomic_fetch_add_explicit(&a->used[u], n, memory_order_relaxed);
}

void account_give_back(struct account *a, enum use u, uint64_t n)
{
    uint64_t before = atomic_fetch_sub_explicit(&a->used[u], n, memory_order_relaxed);

    assert(before >= n);
    (void)before;
}

void account_fini(void)
{
    struct account *a = newest();

    atomic_store(&first, &everybody);
    while (a) {
        struct account *next = a->next;

        if (a != &everybody)
            free(a);
        a = next;
    }
    for (int u = 0; u < USE_COUNT; u++) {
        atomic_store(&everybody.used[u], 0);
        atomic_store(&everybody.most[u], ACCOUNT_NO_LIMIT);
    }
    memset(everybody.lines, 0, sizeof everybody.lines);
}
