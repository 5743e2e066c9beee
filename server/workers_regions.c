/* workers_regions.c - workers map the regions that clients share with the server: they are told in
 * the order of their other frames, so that a RUN names nothing that its rank does not know. */
#include "server/region.h"
#include "server/workers_parts.h"

#include <string.h>

/* Whose kernels read memory wherever it is, and whose link carries descriptors. */
bool worker_maps(const struct worker *w)
{
    return !w->info.tcp && strcmp(w->info.backend, "shm") == 0;
}

static void tell_born(const struct region *r, void *arg)
{
    static struct frame f; /* large */
    struct worker *w = arg;

    f = (struct frame){.type = FRAME_region};
    f.region = (struct frame_region){
        .offset = r->offset, .bytes = r->size_bytes, .written = r->kind == REGION_results};
    peer_send_fd(w->peer, &f, r->fd);
}

void worker_maps_all(struct worker *w)
{
    if (worker_maps(w))
        regions_each(tell_born, w);
}

/* One that is ready has been told of all before. */
static bool listens(const struct worker *w)
{
    bool there = w->info.state == WORKER_ready || w->info.state == WORKER_busy;

    return there && w->peer && worker_maps(w);
}

static void born(const struct region *r)
{
    for (uint32_t i = 0; i < workers.options.world_size; i++) {
        if (listens(&workers.rank[i]))
            tell_born(r, &workers.rank[i]);
    }
}

static void gone(const struct region *r)
{
    static struct frame f; /* large */

    f = (struct frame){.type = FRAME_region_gone,
                       .region_gone = {.offset = r->offset, .bytes = r->size_bytes}};
    for (uint32_t i = 0; i < workers.options.world_size; i++) {
        if (listens(&workers.rank[i]))
            peer_send_frame(workers.rank[i].peer, &f);
    }
}

void workers_follow_regions(bool on)
{
    static const struct region_follower follower = {.born = born, .gone = gone};

    regions_follow(on ? &follower : NULL);
}

static bool in_region(struct tensor *const *t, uint32_t n)
{
    for (uint32_t i = 0; t && i < n; i++) {
        if (t[i] && region_of(t[i]->extent))
            return true;
    }
    return false;
}

int workers_see(const struct job *j, struct err *e)
{
    const struct job_record *r = j->record;

    if (!regions_any() || (!j->results && !in_region(j->inputs, record_needs(r))))
        return 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct worker *w = &workers.rank[r->ranks[i]];

        if (worker_maps(w))
            continue;
        err_set(e, ERR_group_invalid,
                "rank %u (%s, by %s) does not map the regions of clients: send the tensors "
                "themselves, and ask for the results without a region",
                i, w->info.backend, w->info.tcp ? "TCP" : "the socket");
        return err_rank(e, i);
    }
    return 0;
}
