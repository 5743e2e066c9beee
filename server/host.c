/* host.c - the table of hosts: a worker more, a worker less, and the end of one. */
#include "server/host.h"
#include "schema/arena_header.h"
#include "schema/limits.h"
#include "schema/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    struct host *all;
    uint64_t *gone; /* nonces of those that were given up: a few, over the life of a server */
    size_t n_gone, gone_cap;
} hosts;

void host_release(struct host *h)
{
    if (h->channel || h->copies > 0)
        return; /* the last of these calls again */
    blocks_fini(&h->room);
    free(h);
}

static void on_closed(struct channel_owner *o)
{
    struct host *h = CORE_OWNER(o, struct host, as_owner);

    h->channel = NULL;
    h->copies++; /* so that it is here until all of this is done */
    copies_drop_unused(h);
    h->copies--;
    host_release(h);
}

static void ignore(struct channel_owner *o)
{
    (void)o;
}

static bool was_given_up(uint64_t nonce)
{
    for (size_t i = 0; i < hosts.n_gone; i++) {
        if (hosts.gone[i] == nonce)
            return true;
    }
    return false;
}

static struct host *make(uint64_t nonce, uint64_t arena_bytes, const char *name, struct err *e)
{
    uint64_t room = (arena_bytes - ARENA_HEADER_BYTES) & ~(uint64_t)(LIMIT_EXTENT_ALIGN_BYTES - 1);
    struct host *h = calloc(1, sizeof *h);

    if (!h) {
        err_set(e, ERR_no_memory, "a host");
        return NULL;
    }
    h->as_owner = (struct channel_owner){.broke = ignore, .closed = on_closed};
    h->nonce = nonce;
    h->arena_bytes = arena_bytes;
    snprintf(h->name, sizeof h->name, "%s", name);
    if (blocks_init(&h->room, sizeof(struct block), ARENA_HEADER_BYTES, room, e) != 0) {
        free(h);
        return NULL;
    }
    h->channel = channel_new(&h->as_owner, e);
    if (!h->channel) {
        blocks_fini(&h->room);
        free(h);
        return NULL;
    }
    h->next = hosts.all;
    hosts.all = h;
    log_info("host %s: an arena of %llu bytes", h->name, (unsigned long long)arena_bytes);
    return h;
}

struct host *host_join(uint64_t nonce, uint64_t arena_bytes, const char *name, struct err *e)
{
    struct host *h = hosts.all;

    assert(core_here());
    if (was_given_up(nonce)) {
        err_set(e, ERR_arena,
                "the arena of its host was given up, and somebody holds it still: end the "
                "tutti-worker that hangs there");
        return NULL;
    }
    while (h && h->nonce != nonce)
        h = h->next;
    if (h && h->arena_bytes != arena_bytes) {
        err_set(e, ERR_refused, "its host's arena is known with another size");
        return NULL;
    }
    if (!h && (arena_bytes < LIMIT_ARENA_MIN_BYTES || arena_bytes > INT64_MAX / 2)) {
        err_set(e, ERR_refused, "an arena has at least %llu bytes",
                (unsigned long long)LIMIT_ARENA_MIN_BYTES);
        return NULL;
    }
    if (!h)
        h = make(nonce, arena_bytes, name, e);
    if (h)
        h->workers++;
    return h;
}

static void remember(uint64_t nonce)
{
    if (hosts.n_gone == hosts.gone_cap) {
        size_t cap = hosts.gone_cap ? 2 * hosts.gone_cap : 16;
        uint64_t *grown = realloc(hosts.gone, cap * sizeof *grown);

        if (!grown)
            return; /* then a process that hangs for minutes may be trusted once */
        hosts.gone = grown;
        hosts.gone_cap = cap;
    }
    hosts.gone[hosts.n_gone++] = nonce;
}

void host_leave(struct host *h)
{
    struct host **at = &hosts.all;

    assert(core_here() && h->workers > 0);
    if (--h->workers > 0)
        return;
    log_info("host %s has no worker any more", h->name);
    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    h->closed = true;
    h->as_owner.broke = ignore;
    core_timer_clear(&h->back);
    remember(h->nonce);
    channel_close(h->channel);
}

void host_figures(const struct host *h, struct host_figures *out)
{
    struct channel_counts n;

    channel_count(h->channel, &n);
    *out = (struct host_figures){.arena_bytes = h->arena_bytes,
                                 .used_bytes = atomic_load(&h->used_bytes),
                                 .sent_bytes = n.sent_bytes,
                                 .received_bytes = n.received_bytes,
                                 .broken = n.broken};
}
