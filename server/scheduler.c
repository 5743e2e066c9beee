/* scheduler.c - the ranks' queues in one global order, and the jobs that may start. */
#include "server/scheduler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PRIORITIES (2 * LIMIT_PRIORITY + 1)
#define WORD_BITS 64
#define WORDS ((PRIORITIES + WORD_BITS - 1) / WORD_BITS)

enum list { LIST_none, LIST_runnable, LIST_blocked, LIST_parked, LIST_COUNT };

/* The jobs of one priority that need one rank, in the order in which they are to run: by turn, and
 * those of a turn by age. */
RB_HEAD(bucket, job_rank_link);

static int compare(const struct job_rank_link *a, const struct job_rank_link *b)
{
    const struct job_place *x = &a->job->place, *y = &b->job->place;

    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* What RB_GENERATE_STATIC does where the headers know __unused. */
RB_GENERATE_INTERNAL(bucket, job_rank_link, queued, compare, __attribute__((unused)) static)

struct queue {
    bool ready;             /* the rank's worker can take a job */
    struct job *head;       /* to which it offers itself when ready */
    uint64_t filled[WORDS]; /* buckets that are not empty; bit 0 is the most urgent */
    struct bucket bucket[PRIORITIES];
    uint64_t served[PRIORITIES]; /* the last turn of which a job has begun, while any waits */
};

static struct {
    uint32_t world_size, lanes;
    struct queue *queues; /* a row of lanes a rank */
    bool *away;           /* by rank: jobs that need it are parked */
    enum job_begun (*begin)(struct job *j);
    struct job *first[LIST_COUNT], *last[LIST_COUNT];
    uint64_t last_order;
    bool draining, starting;
} sched;

int scheduler_init(uint32_t world_size, uint32_t lanes, enum job_begun (*begin)(struct job *j),
                   struct err *e)
{
    sched = (typeof(sched)){.world_size = world_size, .lanes = lanes, .begin = begin};
    sched.queues = calloc((size_t)world_size * lanes, sizeof *sched.queues);
    sched.away = calloc(world_size, sizeof *sched.away);
    if (sched.queues && sched.away)
        return 0;
    scheduler_fini();
    return err_set(e, ERR_no_memory, "queues of %u ranks", world_size);
}

uint32_t scheduler_lanes(void)
{
    return sched.lanes;
}

uint32_t scheduler_lane(const struct job_record *r)
{
    return sched.lanes > 1 ? r->stream : 0;
}

static struct queue *queue_of(uint32_t world_rank, uint32_t lane)
{
    return &sched.queues[(size_t)world_rank * sched.lanes + lane];
}

/* Of the i-th of the job's ranks. */
static struct queue *queue_for(const struct job_record *r, uint32_t i)
{
    return queue_of(r->ranks[i], scheduler_lane(r));
}

void scheduler_fini(void)
{
    free(sched.queues);
    free(sched.away);
    sched.queues = NULL;
    sched.away = NULL;
    sched.world_size = 0;
}

/* ---- the lists ---- */

static void list_leave(struct job *j)
{
    struct job_place *p = &j->place;

    if (p->list == LIST_none)
        return;
    *(p->prev ? &p->prev->place.next : &sched.first[p->list]) = p->next;
    *(p->next ? &p->next->place.prev : &sched.last[p->list]) = p->prev;
    p->list = LIST_none;
    p->next = p->prev = NULL;
}

static void list_enter(struct job *j, enum list list)
{
    struct job_place *p = &j->place;

    list_leave(j);
    p->list = list;
    p->prev = sched.last[list];
    *(p->prev ? &p->prev->place.next : &sched.first[list]) = j;
    sched.last[list] = j;
}

static void offer(struct job *j, uint32_t more, uint32_t fewer)
{
    j->place.offers += more - fewer;
    if (j->place.offers == j->record->n)
        list_enter(j, LIST_runnable);
    else
        list_leave(j);
}

/* ---- queues ---- */

static uint32_t bucket_of(const struct job *j)
{
    return (uint32_t)(LIMIT_PRIORITY - j->record->priority);
}

static void find_head(struct queue *q)
{
    struct job *head = NULL, *before = q->head;

    for (uint32_t w = 0; w < WORDS && !head; w++) {
        if (q->filled[w])
            head = RB_MIN(bucket,
                          &q->bucket[w * WORD_BITS + (uint32_t)ffsll((long long)q->filled[w]) - 1])
                       ->job;
    }
    if (head == before)
        return;
    q->head = head;
    if (q->ready && before)
        offer(before, 0, 1);
    if (q->ready && head)
        offer(head, 1, 0);
}

/* Owners take turns: the jobs that one of them has queued stand a turn apart, and the first of one
 * who had none queued has the turn that is served now (start-time fair queueing, Goyal et al. 1996,
 * at a cost of one a job). So whoever comes with one job waits for one of each other owner, however
 * many they have queued; and where there is one owner it is first come, first served. The turns are
 * the same on all ranks: one global order.
 *
 * A rank's turns mean something as long as anybody waits for it. Else they begin anew with the next
 * who comes: if they went on, those of a rank that has had much to do would be far ahead, and a job
 * that needs it and a rank that is still behind would wait there until that has caught up. */
static uint64_t turn_served(const struct job *j, uint32_t at)
{
    uint64_t turn = 0;

    for (uint32_t i = 0; i < j->record->n; i++) {
        struct queue *q = queue_for(j->record, i);

        if (!RB_EMPTY(&q->bucket[at]) && q->served[at] > turn)
            turn = q->served[at];
    }
    return turn;
}

/* One that has to run again keeps its turn, unless turns have begun anew since. */
static void take_turn(struct job *j, uint32_t at)
{
    struct account *owner = j->record->owner;
    uint64_t turn = turn_served(j, at);

    if (j->place.turn > 0) {
        j->place.turn = j->place.turn < turn + 1 ? j->place.turn : turn + 1;
        return;
    }
    if (owner->lines[at].queued > 0 && owner->lines[at].turn > turn)
        turn = owner->lines[at].turn;
    j->place.turn = owner->lines[at].turn = turn + 1;
    j->place.order = ++sched.last_order;
}

static void queues_enter(struct job *j)
{
    uint32_t at = bucket_of(j);

    take_turn(j, at);
    j->record->owner->lines[at].queued++;
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct queue *q = queue_for(j->record, i);

        j->links[i].job = j;
        if (RB_EMPTY(&q->bucket[at]))
            q->served[at] = j->place.turn - 1;
        RB_INSERT(bucket, &q->bucket[at], &j->links[i]);
        q->filled[at / WORD_BITS] |= 1ull << at % WORD_BITS;
        find_head(q);
    }
}

static void queues_leave(struct job *j, bool starts)
{
    uint32_t at = bucket_of(j);

    j->record->owner->lines[at].queued--;
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct job_rank_link *link = &j->links[i];
        struct queue *q = queue_for(j->record, i);
        struct bucket *b = &q->bucket[at];

        RB_REMOVE(bucket, b, link);
        if (starts && q->served[at] < j->place.turn)
            q->served[at] = j->place.turn;
        if (RB_EMPTY(b))
            q->filled[at / WORD_BITS] &= ~(1ull << at % WORD_BITS);
        find_head(q);
    }
    assert(j->place.offers == 0 && j->place.list == LIST_none);
}

static bool is_parked(const struct job *j)
{
    return j->place.list == LIST_parked;
}

static bool needs_one_away(const struct job *j)
{
    for (uint32_t i = 0; i < j->record->n; i++) {
        if (sched.away[j->record->ranks[i]])
            return true;
    }
    return false;
}

void scheduler_add(struct job *j)
{
    assert(core_here() && !j->place.queued && bucket_of(j) < PRIORITIES);
    j->place.queued = true;
    if (needs_one_away(j))
        list_enter(j, LIST_parked);
    else
        queues_enter(j);
}

void scheduler_remove(struct job *j, bool starts)
{
    assert(core_here() && j->place.queued);
    j->place.queued = false;
    if (is_parked(j))
        list_leave(j);
    else
        queues_leave(j, starts);
}

static void park_all(uint32_t world_rank, uint32_t lane)
{
    struct queue *q = queue_of(world_rank, lane);

    for (uint32_t at = 0; at < PRIORITIES; at++) {
        struct job_rank_link *l;

        while ((l = RB_MIN(bucket, &q->bucket[at]))) {
            queues_leave(l->job, false);
            list_enter(l->job, LIST_parked);
        }
    }
}

/* Looks at all that are parked, at every return: that is once an outage. */
static void unpark(void)
{
    for (struct job *j = sched.first[LIST_parked], *next; j; j = next) {
        next = j->place.next;
        if (needs_one_away(j))
            continue;
        list_leave(j);
        queues_enter(j);
    }
}

void scheduler_away(uint32_t world_rank, bool away)
{
    assert(core_here() && world_rank < sched.world_size);
    if (sched.away[world_rank] == away)
        return;
    sched.away[world_rank] = away;
    if (!away)
        unpark();
    for (uint32_t lane = 0; lane < sched.lanes && away; lane++)
        park_all(world_rank, lane);
}

void scheduler_rank(uint32_t world_rank, uint32_t lane, bool ready)
{
    struct queue *q = queue_of(world_rank, lane);

    assert(core_here() && world_rank < sched.world_size && lane < sched.lanes);
    if (q->ready == ready)
        return;
    q->ready = ready;
    if (q->head)
        offer(q->head, ready, !ready);
}

bool scheduler_idle(const struct job_record *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const struct queue *q = queue_for(r, i);

        if (!q->ready || q->head)
            return false;
    }
    return !sched.draining;
}

struct job *scheduler_follower(const struct job *j)
{
    const struct job_record *r = j->record;
    struct job *next = queue_for(r, 0)->head;

    if (sched.draining || !next || next->place.list != LIST_runnable || next->record->n != r->n ||
        next->record->stream != r->stream ||
        memcmp(next->record->ranks, r->ranks, r->n * sizeof *r->ranks) != 0)
        return NULL;
    return next;
}

void scheduler_freed(void)
{
    while (sched.first[LIST_blocked])
        list_enter(sched.first[LIST_blocked], LIST_runnable);
}

void scheduler_next(void)
{
    assert(core_here());
    if (sched.starting) /* a job ended while it was being started: the loop below goes on */
        return;
    sched.starting = true;
    while (!sched.draining && sched.first[LIST_runnable]) {
        struct job *j = sched.first[LIST_runnable];

        if (sched.begin(j) == JOB_BLOCKED)
            list_enter(j, LIST_blocked);
        else
            assert(sched.first[LIST_runnable] != j);
    }
    sched.starting = false;
}

void scheduler_drain(void)
{
    sched.draining = true;
}

/* ---- for tests ---- */

static bool before(const struct job *a, const struct job *b)
{
    if (a->record->priority != b->record->priority)
        return a->record->priority > b->record->priority;
    return a->place.turn != b->place.turn ? a->place.turn < b->place.turn
                                          : a->place.order < b->place.order;
}

static int check_queue(uint32_t rank, uint32_t lane, struct err *e)
{
    struct queue *q = queue_of(rank, lane);
    const struct job *last = NULL, *first = NULL;

    for (uint32_t at = 0; at < PRIORITIES; at++) {
        struct bucket *b = &q->bucket[at];

        if (!RB_EMPTY(b) != (q->filled[at / WORD_BITS] >> at % WORD_BITS & 1))
            return err_set(e, ERR_internal, "rank %u: bit %u is wrong", rank, at);
        for (struct job_rank_link *l = RB_MIN(bucket, b); l;
             last = l->job, l = RB_NEXT(bucket, b, l)) {
            if (!l->job->place.queued || needs_one_away(l->job) || (last && !before(last, l->job)))
                return err_set(e, ERR_internal, "rank %u: job %llu is out of order", rank,
                               (unsigned long long)l->job->seq);
            first = first ? first : l->job;
        }
    }
    if (q->head != first)
        return err_set(e, ERR_internal, "rank %u: the head is not the first", rank);
    if (first && first->place.list == LIST_runnable && !sched.draining)
        return err_set(e, ERR_internal, "job %llu could run and does not",
                       (unsigned long long)first->seq);
    return 0;
}

static int check_offers(const struct job *j, struct err *e)
{
    uint32_t offers = 0;

    for (uint32_t i = 0; i < j->record->n; i++) {
        const struct queue *q = queue_for(j->record, i);

        offers += q->ready && q->head == j;
    }
    if (offers != j->place.offers)
        return err_set(e, ERR_internal, "job %llu has %u offers and counts %u",
                       (unsigned long long)j->seq, offers, j->place.offers);
    return 0;
}

int scheduler_check(struct err *e)
{
    for (uint32_t rank = 0; rank < sched.world_size; rank++) {
        for (uint32_t lane = 0; lane < sched.lanes; lane++) {
            const struct job *j = queue_of(rank, lane)->head;

            if (check_queue(rank, lane, e) != 0 || (j && check_offers(j, e) != 0))
                return -1;
        }
    }
    return 0;
}
