/* strangers.c - a small table of addresses: who is connected, who was wrong lately. */
#include "server/strangers.h"
#include "schema/limits.h"

#include <stdio.h>
#include <string.h>

#define PLACES 256 /* addresses that are remembered: more than LIMIT_STRANGERS */
#define WINDOW_US (LIMIT_WRONG_PROOFS_S * 1000000ull)

struct place {
    char address[STRANGER_BYTES]; /* "": free */
    uint32_t here;                /* connections */
    uint32_t wrong;               /* proofs since_us */
    uint64_t since_us;
};

static struct place places[PLACES];
static uint32_t all_here;

static struct place *find(const char *address)
{
    for (struct place *p = places; p < places + PLACES; p++) {
        if (strcmp(p->address, address) == 0)
            return p;
    }
    return NULL;
}

/* A free place; or that of whoever was wrong the longest ago, and is not here. There is always one:
 * fewer strangers than places are here. */
static struct place *new_place(const char *address)
{
    struct place *oldest = NULL;

    for (struct place *p = places; p < places + PLACES; p++) {
        if (p->here == 0 && (!oldest || p->since_us < oldest->since_us))
            oldest = p;
    }
    if (oldest) {
        *oldest = (struct place){.here = 0};
        snprintf(oldest->address, sizeof oldest->address, "%s", address);
    }
    return oldest;
}

int stranger_comes(const char *address, uint64_t now_us, struct err *e)
{
    struct place *p = find(address);

    if (!p)
        p = new_place(address);
    if (p && p->wrong > 0 && now_us - p->since_us >= WINDOW_US)
        p->wrong = 0;
    if (!p || all_here >= LIMIT_STRANGERS || p->here >= LIMIT_STRANGERS_ADDRESS)
        return err_set(e, ERR_refused, "too many connections are at this point: try again");
    if (p->wrong >= LIMIT_WRONG_PROOFS)
        return err_set(e, ERR_refused,
                       "%d proofs from this address were wrong: try again in %d seconds",
                       LIMIT_WRONG_PROOFS, LIMIT_WRONG_PROOFS_S);
    p->here++;
    all_here++;
    return 0;
}

void stranger_leaves(const char *address)
{
    struct place *p = find(address);

    if (p && p->here > 0) {
        p->here--;
        all_here--;
    }
}

void stranger_was_wrong(const char *address, uint64_t now_us)
{
    struct place *p = find(address);

    if (!p)
        return;
    if (p->wrong == 0)
        p->since_us = now_us;
    p->wrong++;
}
