/* api_workers.c - who holds which rank. */
#include "server/api.h"
#include "server/workers.h"

#include <stdlib.h>
#include <string.h>

/* Which GPU, and which files made the figures: nobody takes a simulated one for a real one. */
static void gpu_write(struct text *t, const struct worker_info *w)
{
    const struct worker_gpu *g = &w->gpu;

    text_object(t, "gpu");
    text_string(t, "name", g->name);
    text_string(t, "uuid", g->uuid);
    text_string(t, "pci_id", g->pci_id);
    text_uint(t, "memory_bytes", g->memory_bytes);
    text_uint(t, "resident_bytes", w->resident_bytes);
    text_string(t, "driver_version", g->driver_version);
    text_string(t, "runtime_version", g->runtime_version);
    text_string(t, "nccl_version", g->nccl_version);
    text_string(t, "runtime_path", g->runtime_path);
    text_string(t, "nccl_path", g->nccl_path);
    text_bool(t, "simulated", g->simulated);
    text_end_object(t);
}

/* Of a host with an arena of its own: the same for all of its ranks. */
static void arena_write(struct text *t, const struct worker_info *w)
{
    const struct host_figures *h = &w->arena;

    text_object(t, "arena");
    text_uint(t, "arena_bytes", h->arena_bytes);
    text_uint(t, "used_bytes", h->used_bytes);
    text_uint(t, "sent_bytes", h->sent_bytes);
    text_uint(t, "received_bytes", h->received_bytes);
    text_uint(t, "channels_broken", h->broken);
    text_end_object(t);
}

void worker_doc_write(struct text *t, const struct worker_info *w)
{
    bool held = w->pid != 0;

    text_object(t, NULL);
    text_uint(t, "rank", w->rank);
    text_string(t, "state", worker_state_name(w->state));
    text_time(t, "since", w->since_us);
    text_string(t, "backend", held ? w->backend : NULL);
    text_string(t, "device", held ? w->device : NULL);
    text_string(t, "host", held ? w->host : NULL);
    text_string(t, "link", !held ? NULL : w->tcp ? "tcp" : "unix");
    if (held)
        text_uint(t, "pid", w->pid);
    else
        text_null(t, "pid");
    text_string(t, "version", held ? w->version : NULL);
    if (w->remote)
        arena_write(t, w);
    else
        text_null(t, "arena");
    if (held && w->gpu.memory_bytes)
        gpu_write(t, w);
    else
        text_null(t, "gpu");
    text_object(t, "counters");
    text_uint(t, "jobs_done", w->jobs_done);
    text_uint(t, "jobs_failed", w->jobs_failed);
    text_uint(t, "restarts", w->restarts);
    text_uint(t, "losses", w->losses);
    text_uint(t, "busy_us", w->busy_us);
    text_uint(t, "moved_bytes", w->moved_bytes);
    text_uint(t, "heartbeat_age_us", w->heartbeat_age_us);
    text_end_object(t);
    text_end_object(t);
}

static struct worker_info *list(struct err *e)
{
    struct worker_info *w = calloc(group_world_size(), sizeof *w);

    if (!w) {
        err_set(e, ERR_no_memory, "the list of workers");
        return NULL;
    }
    workers_list(w);
    return w;
}

int api_worker_list(struct request *rq, struct err *e)
{
    struct text *t = &rq->reply.text;
    struct worker_info *w = list(e);

    if (!w)
        return -1;
    text_object(t, NULL);
    text_array(t, "workers");
    for (uint32_t r = 0; r < group_world_size(); r++)
        worker_doc_write(t, &w[r]);
    text_end_array(t);
    text_end_object(t);
    free(w);
    return reply_json(rq, 200);
}

int api_worker_get(struct request *rq, struct err *e)
{
    const char *arg = rq->args[0];
    unsigned long rank = strtoul(arg, NULL, 10);
    struct worker_info *w;

    if (!*arg || strspn(arg, "0123456789") != strlen(arg) || rank >= group_world_size())
        return err_set(e, ERR_rank_unknown, "the world has ranks 0 to %u", group_world_size() - 1);
    w = list(e);
    if (!w)
        return -1;
    worker_doc_write(&rq->reply.text, &w[rank]);
    free(w);
    return reply_json(rq, 200);
}
