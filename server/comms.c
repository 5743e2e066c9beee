/* comms.c - a small table of ordered groups, by content and by last use. */
#include "server/comms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 512

static struct {
    struct comm *bucket[BUCKETS];
    struct comm *newest, *oldest;
    uint32_t count;
    uint64_t last_id;
} comms;

static struct comm **bucket_of(const uint32_t *ranks, uint32_t n, uint32_t stream)
{
    uint64_t hash = (uint64_t)stream << 32 | n;

    for (uint32_t i = 0; i < n; i++)
        hash = (hash ^ ranks[i]) * 0x9e3779b97f4a7c15u;
    return &comms.bucket[hash >> 32 & (BUCKETS - 1)];
}

static void unlink_use(struct comm *c)
{
    *(c->newer ? &c->newer->older : &comms.newest) = c->older;
    *(c->older ? &c->older->newer : &comms.oldest) = c->newer;
}

static void link_newest(struct comm *c)
{
    c->newer = NULL;
    c->older = comms.newest;
    *(c->older ? &c->older->newer : &comms.oldest) = c;
    comms.newest = c;
}

static struct comm *make(const uint32_t *ranks, uint32_t n, uint32_t stream, const char *backend,
                         struct err *e)
{
    struct comm *c = calloc(1, sizeof *c + n * (sizeof c->joined[0] + sizeof c->ranks[0]));

    if (!c) {
        err_set(e, ERR_no_memory, "a group of %u ranks", n);
        return NULL;
    }
    c->id = ++comms.last_id;
    c->n = n;
    c->stream = stream;
    snprintf(c->backend, sizeof c->backend, "%s", backend);
    c->ranks = (uint32_t *)(c->joined + n);
    memcpy(c->ranks, ranks, n * sizeof *ranks);
    comms.count++;
    return c;
}

static bool is_of(const struct comm *c, const uint32_t *ranks, uint32_t n, uint32_t stream,
                  const char *backend)
{
    return c->n == n && c->stream == stream && memcmp(c->ranks, ranks, n * sizeof *ranks) == 0 &&
           strcmp(c->backend, backend) == 0;
}

struct comm *comms_use(const uint32_t *ranks, uint32_t n, uint32_t stream, const char *backend,
                       struct err *e)
{
    struct comm **bucket = bucket_of(ranks, n, stream), *c = *bucket;

    while (c && !is_of(c, ranks, n, stream, backend))
        c = c->next;
    if (c) {
        unlink_use(c);
    } else {
        c = make(ranks, n, stream, backend, e);
        if (!c)
            return NULL;
        c->next = *bucket;
        *bucket = c;
    }
    link_newest(c);
    return c;
}

void comms_take(struct comm *c)
{
    struct comm **at = bucket_of(c->ranks, c->n, c->stream);

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    unlink_use(c);
    comms.count--;
}

struct comm *comms_evict(uint32_t max)
{
    struct comm *c = comms.oldest;

    if (comms.count <= max)
        return NULL;
    while (c && c->busy > 0)
        c = c->newer;
    if (c == comms.newest) /* the one that is about to be used */
        return NULL;
    if (c)
        comms_take(c);
    return c;
}

struct comm *comms_find(uint64_t id)
{
    struct comm *c = comms.newest;

    while (c && c->id != id)
        c = c->older;
    return c;
}

void comm_free(struct comm *c)
{
    free(c);
}

void comms_fini(void)
{
    while (comms.oldest) {
        struct comm *c = comms.oldest;

        comms_take(c);
        comm_free(c);
    }
}
