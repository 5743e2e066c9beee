/* workers_hosts.c - workers with an arena of their own: who carries their host's tensors, whether
 * one that was given up has ended, and what carries a group that spans hosts.
 */
#include "server/scheduler.h"
#include "server/workers_parts.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MS 1000ull

static struct frame out; /* large; built and sent within one function */

static struct host *host_of(struct channel_owner *o)
{
    return CORE_OWNER(o, struct host, as_owner);
}

static bool serves(const struct worker *w)
{
    return w->peer && (w->info.state == WORKER_ready || w->info.state == WORKER_busy);
}

/* A worker of that host that serves; NULL: there is none. */
static struct worker *anybody_of(const struct host *h)
{
    for (uint32_t r = 0; r < workers.options.world_size; r++) {
        if (workers.rank[r].host == h && serves(&workers.rank[r]))
            return &workers.rank[r];
    }
    return NULL;
}

/* ---- who carries ---- */

static void not_back(struct core_timer *t)
{
    struct host *h = CORE_OWNER(t, struct host, back);

    if (h->carried)
        worker_lose(&workers.rank[h->carrier], "its data channel does not come back");
}

static void await_channel(struct host *h)
{
    h->back.fire = not_back;
    core_timer_set(&h->back, clock_us() + LIMIT_CHANNEL_BACK_MS * MS);
}

/* The carrier makes it anew by itself. */
static void on_broke(struct channel_owner *o)
{
    struct host *h = host_of(o);

    if (h->carried)
        await_channel(h);
}

static void choose_carrier(struct host *h)
{
    struct worker *w = h->carried || workers.stopping ? NULL : anybody_of(h);

    if (!w)
        return;
    h->carried = true;
    h->carrier = w->info.rank;
    out = (struct frame){.type = FRAME_carry, .carry.epoch = w->info.epoch};
    peer_send_frame(w->peer, &out);
    await_channel(h);
}

int worker_attaches(uint64_t epoch, int fd, struct err *e)
{
    for (uint32_t r = 0; r < workers.options.world_size; r++) {
        struct worker *w = &workers.rank[r];

        if (!w->host || w->info.epoch != epoch || !serves(w) || !w->host->carried ||
            w->host->carrier != r)
            continue;
        core_timer_clear(&w->host->back);
        channel_attach(w->host->channel, fd);
        log_info("host %s: rank=%u carries its tensors", w->host->name, r);
        return 0;
    }
    return err_set(e, ERR_refused, "no worker of that epoch carries");
}

/* ---- in and out ---- */

int worker_settles(struct worker *w, const struct frame_ready *f, struct err *e)
{
    struct host *h;

    if (f->arena_nonce == 0)
        return err_set(e, ERR_refused, "its arena has no name");
    h = host_join(f->arena_nonce, f->arena_bytes, w->info.host, e);
    if (!h)
        return -1;
    h->as_owner.broke = on_broke;
    w->left = false;
    worker_move(w, h);
    return 0;
}

void worker_settled(struct worker *w)
{
    choose_carrier(w->host);
}

void worker_moves_out(struct worker *w)
{
    struct host *h = w->host;

    worker_move(w, NULL);
    if (h->carried && h->carrier == w->info.rank)
        h->carried = false;
    if (h->workers > 1)
        choose_carrier(h);
    host_leave(h);
}

/* ---- has it ended? ---- */

/* Nobody else carries before it has ended: what it has received and not written yet would be
 * written late. */
void worker_suspected(struct worker *w, bool heard)
{
    uint64_t lease_ms = w->left ? 0
                        : heard ? LIMIT_TCP_SILENT_MS + LIMIT_CANCEL_MS
                                : LIMIT_LEASE_MS;

    w->lease_us = clock_us() + lease_ms * MS;
    if (!w->host->carried || w->host->carrier != w->info.rank)
        return;
    core_timer_clear(&w->host->back);
    channel_detach(w->host->channel);
}

bool worker_has_ended(struct worker *w)
{
    struct worker *witness = anybody_of(w->host);

    if (workers.stopping) /* whoever comes next has another arena */
        return true;
    if (!witness)
        return clock_us() >= w->lease_us;
    out = (struct frame){.type = FRAME_look, .look.of = w->info.epoch};
    peer_send_frame(witness->peer, &out);
    return false; /* worker_seen tells */
}

void worker_seen(struct worker *w, const struct frame_seen *f)
{
    if (f->of == w->info.epoch) {
        w->left = w->host && f->held == 0;
        return;
    }
    for (uint32_t r = 0; r < workers.options.world_size && f->held == 0; r++) {
        struct worker *lost = &workers.rank[r];

        if (lost->host != w->host || !lost->host || lost->info.epoch != f->of ||
            lost->info.state != WORKER_stopping)
            continue;
        core_timer_clear(&lost->fence);
        lost->process.pid = 0;
        worker_gone(lost, lost->how);
        return;
    }
}

/* ---- groups ---- */

static const char *name_of(const struct worker *w)
{
    return w->host ? w->host->name : "the server's";
}

static bool is_here(const struct worker *w)
{
    return w->info.state == WORKER_ready || w->info.state == WORKER_busy;
}

/* Ranks with GPUs meet through NCCL wherever they are, but for masks, which are put on in arenas.
 * Ranks on CPUs meet in one arena, or across hosts by what each of them has for that. Those that
 * have no worker now may come from anywhere. */
int workers_backend(const struct job_record *r, const char **to, struct err *e)
{
    const struct worker *first = NULL, *without = NULL;
    bool spans = false;

    *to = workers.rank[r->ranks[0]].info.backend;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct worker *w = &workers.rank[r->ranks[i]];

        if (!is_here(w) || (w->info.by_ticket && r->mask == MASK_NONE))
            continue;
        spans |= first && first->host != w->host;
        without = w->info.across ? without : w;
        first = first ? first : w;
    }
    if (!spans)
        return 0;
    if (without)
        return err_set(e, ERR_group_invalid,
                       "the group spans hosts, and the worker of world rank %u (on %s) was built "
                       "without gloo, which carries %s: choose ranks of one host, or "
                       "install libgloo-dev there and build it again",
                       without->info.rank, name_of(without),
                       without->info.by_ticket ? "gradients of maxima and minima there"
                                               : "those on CPUs");
    *to = ACROSS;
    return 0;
}

void workers_hosts_of(const uint32_t *ranks, uint32_t n, uint32_t *to)
{
    uint32_t seen = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t before = 0;

        while (before < i && workers.rank[ranks[before]].host != workers.rank[ranks[i]].host)
            before++;
        to[i] = before < i ? to[before] : seen++;
    }
}
