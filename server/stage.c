/* stage.c - room on hosts for a job, its bytes there and back. */
#include "server/stage.h"
#include "server/resident.h"
#include "server/workers.h"
#include "schema/arena_header.h"
#include "schema/clock.h"
#include "schema/frame.h"

#include <assert.h>
#include <stdlib.h>

enum phase { PHASE_ROOM, PHASE_SEND, PHASE_RUN, PHASE_FETCH, PHASE_WHOLE };

/* A tensor of the job's that its rank has on another host. */
struct part {
    struct copy_wait wait;
    struct job *job;
    struct tensor *tensor; /* the job's */
    struct copy *copy;     /* NULL: it has no bytes */
    struct host *host;
    bool lead;    /* of parts with the same copy: the one that waits for it */
    bool waiting; /* is told when the bytes are there */
};

struct stage {
    enum phase phase;
    uint32_t waiting; /* parts */
    bool failed;
    struct err why;
    uint64_t since_us;
    uint32_t needs, n;  /* of parts: what the ranks need, then what they get */
    struct part part[]; /* .host NULL: it is in the server's arena, or is not */
};

bool stage_skips(const struct job_record *r)
{
    bool gives = false, elsewhere = false;

    if (!workers_any_remote())
        return false;
    for (uint32_t i = 0; i < r->n; i++) {
        elsewhere |= worker_host(r->ranks[i]) != NULL;
        gives |= record_gives(r, i) || record_gets(r, i);
    }
    return elsewhere && (!gives || (record_is_view(r) && !resident_stays(r)));
}

/* ---- room ---- */

/* The same bytes for a rank before it on the same host. */
static struct part *twin(struct stage *s, uint32_t from, uint32_t at)
{
    for (uint32_t i = from; i < at; i++) {
        if (s->part[i].host == s->part[at].host && s->part[i].tensor == s->part[at].tensor)
            return &s->part[i];
    }
    return NULL;
}

static int take_room(struct stage *s, uint32_t at, struct err *e)
{
    bool output = at >= s->needs;
    struct part *p = &s->part[at], *same;

    if (!p->host || p->tensor->size_bytes == 0)
        return 0;
    same = twin(s, output ? s->needs : 0, at);
    if (same) {
        p->copy = same->copy;
        return 0;
    }
    p->copy = output ? NULL : copy_find(p->host, p->tensor);
    if (!p->copy)
        p->copy = copy_make(p->host, p->tensor, e);
    p->lead = p->copy != NULL;
    return p->copy ? 0 : -1;
}

static struct stage *new_stage(struct job *j)
{
    const struct job_record *r = j->record;
    uint32_t needs = record_needs(r);
    struct stage *s = calloc(1, sizeof *s + (needs + r->n) * sizeof s->part[0]);

    if (!s)
        return NULL;
    s->needs = needs;
    s->n = r->n;
    for (uint32_t i = 0; i < needs + r->n; i++) {
        struct part *p = &s->part[i];
        uint32_t rank = i < needs ? i % r->n : i - needs;

        p->job = j;
        p->host = worker_host(r->ranks[rank]);
        if (i >= needs)
            p->tensor = j->outputs[rank];
        else if (j->inputs && (i >= r->n || record_gives(r, rank)))
            p->tensor = j->inputs[i];
        if (!p->tensor)
            p->host = NULL;
    }
    return s;
}

static bool any_leaving(const struct stage *s)
{
    for (uint32_t i = 0; i < s->needs + s->n; i++) {
        if (s->part[i].host && s->part[i].host->leaving > 0)
            return true;
    }
    return false;
}

static bool elsewhere(const struct job_record *r)
{
    if (!workers_any_remote())
        return false;
    for (uint32_t i = 0; i < r->n; i++) {
        if (worker_host(r->ranks[i]))
            return true;
    }
    return false;
}

int stage_make(struct job *j, struct err *e)
{
    struct stage *s;
    int rc = 0;

    if (!elsewhere(j->record))
        return 0;
    s = new_stage(j);
    if (!s)
        return err_set(e, ERR_no_memory, "a job on other hosts");
    for (uint32_t i = 0; i < s->needs + s->n && rc == 0; i++)
        rc = take_room(s, i, e);
    if (rc != 0 && e->code == ERR_arena_full && any_leaving(s))
        rc = 1;
    j->stage = s;
    if (rc != 0)
        stage_drop(j);
    return rc;
}

void stage_ahead(const struct job *j)
{
    const struct job_record *r = j->record;

    if (!elsewhere(r) || stage_skips(r))
        return;
    for (uint32_t i = 0; i < record_needs(r); i++) {
        const struct tensor *t = j->inputs ? j->inputs[i] : NULL;
        struct host *h = worker_host(r->ranks[i % r->n]);

        if (h && t && t->extent && t->size_bytes > 0 && (i >= r->n || record_gives(r, i)))
            copy_ahead(h, t);
    }
}

bool stage_too_large(const struct job *j)
{
    const struct job_record *r = j->record;
    uint64_t out = shape_count(&r->out_shape) * dtypes[r->dtype].size_bytes;

    for (uint32_t i = 0; i < r->n; i++) {
        const struct host *h = worker_host(r->ranks[i]);
        uint64_t all = 0;

        for (uint32_t k = 0; h && k < r->n; k++) {
            bool again = false;

            if (worker_host(r->ranks[k]) != h)
                continue;
            for (uint32_t b = 0; b < k; b++)
                again |= j->inputs[b] == j->inputs[k] && worker_host(r->ranks[b]) == h;
            all += record_gives(r, k) && !again ? j->inputs[k]->size_bytes : 0;
            all += record_gets(r, k) && (!record_shares_output(r) || k == i) ? out : 0;
        }
        if (h && all > h->arena_bytes - ARENA_HEADER_BYTES)
            return true;
    }
    return false;
}

/* ---- there and back ---- */

static void end_phase(struct job *j)
{
    struct stage *s = j->stage;
    bool failed = s->failed;
    struct err why = s->why;

    j->record->staging_us += clock_us() - s->since_us;
    s->phase = s->phase == PHASE_SEND ? PHASE_RUN : PHASE_WHOLE;
    job_staged(j, failed ? &why : NULL);
}

static void on_moved(struct copy_wait *w, const struct err *why)
{
    struct part *p = CORE_OWNER(w, struct part, wait);
    struct stage *s = p->job->stage;

    p->waiting = false;
    if (why && !s->failed) {
        s->failed = true;
        s->why = *why;
        err_context(&s->why, "host %s", p->host->name);
    }
    if (--s->waiting == 0)
        end_phase(p->job);
}

static void begin_phase(struct stage *s, enum phase phase)
{
    s->phase = phase;
    s->since_us = clock_us();
    s->waiting = 1; /* ours, so that none ends it before all have begun */
}

static void wait_for(struct stage *s, struct part *p)
{
    p->waiting = true;
    p->wait.done = on_moved;
    s->waiting++;
}

void stage_send(struct job *j)
{
    struct stage *s = j->stage;

    assert(s->phase == PHASE_ROOM);
    begin_phase(s, PHASE_SEND);
    for (uint32_t i = 0; i < s->needs + s->n; i++) {
        struct part *p = &s->part[i];

        if (!p->lead)
            continue;
        if (i >= s->needs) {
            wait_for(s, p);
            copy_reserve(p->copy, p->tensor->extent, &p->wait);
        } else if (copy_bring(p->copy, p->tensor->extent, &p->wait)) {
            wait_for(s, p);
        }
    }
    if (--s->waiting == 0)
        end_phase(j);
}

/* It was written in the server's arena already, by a rank of this machine. */
static bool is_here(const struct stage *s, const struct tensor *t)
{
    for (uint32_t i = s->needs; i < s->needs + s->n; i++) {
        if (!s->part[i].host && s->part[i].tensor == t)
            return true;
    }
    return false;
}

/* From the first host that has it. */
static bool is_first(const struct stage *s, uint32_t at)
{
    for (uint32_t i = s->needs; i < at; i++) {
        if (s->part[i].lead && s->part[i].tensor == s->part[at].tensor)
            return false;
    }
    return true;
}

bool stage_fetch(struct job *j)
{
    struct stage *s = j->stage;

    if (!s || s->phase != PHASE_RUN)
        return false;
    begin_phase(s, PHASE_FETCH);
    for (uint32_t i = s->needs; i < s->needs + s->n; i++) {
        struct part *p = &s->part[i];

        if (!p->lead || is_here(s, p->tensor) || !is_first(s, i))
            continue;
        wait_for(s, p);
        copy_fetch(p->copy, p->tensor->extent, &p->wait);
    }
    if (--s->waiting > 0)
        return true;
    s->phase = PHASE_WHOLE;
    return false;
}

bool stage_sends(const struct job *j)
{
    return j->stage && j->stage->phase <= PHASE_SEND;
}

bool stage_waits(const struct job *j)
{
    return j->stage && (j->stage->phase == PHASE_SEND || j->stage->phase == PHASE_FETCH);
}

const char *stage_waits_for(const struct job *j)
{
    const struct stage *s = j->stage;

    for (uint32_t i = 0; i < s->needs + s->n; i++) {
        if (s->part[i].waiting)
            return s->part[i].host->name;
    }
    return "";
}

void stage_drop(struct job *j)
{
    struct stage *s = j->stage;

    j->stage = NULL;
    for (uint32_t i = 0; s && i < s->needs + s->n; i++) {
        struct part *p = &s->part[i];

        if (p->waiting)
            copy_forget(p->copy, &p->wait);
        if (!p->lead)
            continue;
        if (i >= s->needs && s->phase == PHASE_WHOLE && !s->failed)
            copy_is_whole(p->copy); /* also where it was not fetched from */
        copy_release(p->copy);
    }
    free(s);
}

/* ---- for RUN ---- */

static uint64_t offset_of(const struct part *p, const struct host *h)
{
    if (!p->tensor || p->host != h)
        return FRAME_NO_OFFSET;
    if (!h)
        return tensor_arena_offset(p->tensor);
    return p->copy ? copy_offset(p->copy, p->tensor) : ARENA_HEADER_BYTES;
}

uint64_t stage_need(const struct job *j, uint32_t i, const struct host *h)
{
    return offset_of(&j->stage->part[i], h);
}

uint64_t stage_output(const struct job *j, uint32_t i, const struct host *h)
{
    return offset_of(&j->stage->part[j->stage->needs + i], h);
}
