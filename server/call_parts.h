/* call_parts.h - what call.c, call_gather.c, call_series.c, call_record.c and call_key.c share;
 * nobody else includes it. Core thread. */
#ifndef TUTTI_SERVER_CALL_PARTS_H
#define TUTTI_SERVER_CALL_PARTS_H

#include "server/call.h"
#include "server/store.h"

#define SAID_BYTES 120

/* One rank's part of a job that has not ended. */
struct caller {
    bool missing;          /* a gradient that did not come */
    bool abandoned;        /* nobody waits for the answer any more */
    char said[SAID_BYTES]; /* what it called */
    struct call_key *key;  /* NULL: none */
};

/* The calls of one job. When that ended before all had come, the place where the others hear of it:
 * then it is over, and once its end is recorded it has no job and no callers any more. */
struct gather {
    struct series *series;
    uint64_t turn;
    struct id id; /* of the job */
    uint32_t n_came, wanted;
    bool whole;            /* every rank has come */
    bool over;             /* it ended without having run */
    bool cancelled;        /* while it was being recorded */
    bool known;            /* the database has a row of it, or will have */
    uint32_t told;         /* so many calls are on their way there */
    uint64_t told_number;  /* with this message */
    uint64_t heard_number; /* the last one that was answered */
    struct job *job;
    struct caller *caller; /* n */
    struct core_timer deadline;
    struct gather *older, *newer; /* of all that are over and have no job */
    struct store_job_insert insert;
    struct core_msg recorded;
    bool failed;
    bool came[]; /* n */
};

/* The calls of one group, or of one ordered pair of its ranks. */
struct series {
    struct series *next; /* in its bucket */
    char group[LIMIT_FULL_GROUP_BYTES + 1];
    bool gone; /* the group was deleted: it ends with its last job */
    bool pair;
    uint32_t src, dst; /* of a pair */
    uint32_t n;
    uint64_t ranks;         /* a hash of the world ranks */
    struct gather **window; /* by turn, from low to high: a power of two of places */
    uint32_t places;
    uint32_t live, open; /* gathers there; of them, those that may still be whole */
    uint64_t low, high;
    uint64_t forgotten; /* what ended before this turn is not known any more */
    uint64_t turn[];    /* how often each rank has called; of a pair src's and dst's alone */
};

/* ---- call_series.c: who calls with whom, and how far each is ---- */

/* The series that a call with this record belongs to; made when there is none. NULL with e. */
struct series *series_of(const struct job_record *r, struct err *e);
bool series_wants(const struct series *s, uint32_t rank); /* as record_calls */
uint64_t *series_turn(struct series *s, uint32_t rank);   /* of a rank that it wants */

struct gather *series_find(const struct series *s, uint64_t turn); /* NULL: there is none */

/* One that nobody has come to yet; NULL with e. */
struct gather *gather_new(struct series *s, uint64_t turn, const struct id *job, struct err *e);

/* Frees it, and with the last one a series whose group was deleted. */
void gather_free(struct gather *g);

/* Calls f for every gather of this group, or with NULL of all; f may free the one it is given. */
void series_each(const char *group, void (*f)(struct gather *g, const struct err *why),
                 const struct err *why);

/* The group was deleted: its series get no more calls. */
void series_end(const char *group);
void series_fini(void);

/* A new process has the rank's place: it goes on with the oldest job that waits for it, or where
 * the foremost rank is. */
void series_rejoin(struct series *s, uint32_t rank);

/* Recovery, when all gathers that were over are there: how far each rank was. */
void series_restore(void);

/* ---- call_gather.c: from the first call to the last, and what becomes of it ---- */

/* One more has come: the job is recorded when it was the last. */
void gather_next(struct gather *g, uint64_t timeout_us);

/* Its job ends as it stands: failed or cancelled, for all who came. */
void gather_end(struct gather *g, enum job_state to, const struct err *why);

/* This rank has a new process: if it had come to g itself, or somebody who hung up since, that was
 * in another life, and g ends. */
void gather_start_anew(struct gather *g, uint32_t rank);

/* A rank that had not come comes to one that is over, with key and w as gather_tell_late has them;
 * or will not any more. Frees it with the last. */
struct call_key;
void gather_pass(struct gather *g, uint32_t rank, struct call_key *key, struct job_wait *w);

/* It is over and has no job: it stays for those who have not come, but not for ever. */
void gather_keep(struct gather *g);
void gather_keep_not(struct gather *g); /* one that is not kept is ignored */

/* ---- call_record.c: what the database is told of calls ---- */

/* A rank has come to one that is over: w hears of the job once that is recorded, with key, which is
 * taken and may be NULL. w NULL: nobody waits. */
void gather_tell_late(const struct gather *g, uint32_t rank, struct call_key *key,
                      struct job_wait *w);

/* Who has not come need not be known any more. */
void gather_tell_forgotten(const struct gather *g);

/* ---- call_key.c: Idempotency-Keys of calls, until the database has them ---- */

struct call_key {
    struct call_key *next; /* in its bucket */
    struct store_key key;
    struct id job;
};

struct call_key *call_key_find(const char *key);                           /* NULL: there is none */
struct call_key *call_key_add(const struct call *c, const struct id *job); /* NULL: no memory */
void call_key_remove(struct call_key *k);                                  /* and frees it */
void call_keys_fini(void);

/* Of all who came to g: malloc'd; NULL when there is none. */
struct store_key *gather_keys(const struct gather *g, uint32_t *n);

#endif
