/* call_parts.h - what call.c and call_gather.c share; nobody else includes it. Core thread. */
#ifndef TUTTI_SERVER_CALL_PARTS_H
#define TUTTI_SERVER_CALL_PARTS_H

#include "server/call.h"
#include "server/store.h"

#define SAID_BYTES 120

/* One rank, in one job. */
struct caller {
    bool came, missing;
    char said[SAID_BYTES]; /* what it called */
    struct store_key key;
};

struct gather {
    struct gather *next; /* of the series, by turn */
    struct series *series;
    uint64_t turn;
    uint32_t came, wanted;
    bool whole;      /* every rank has come */
    bool over;       /* it ended without having run: kept for those who come late */
    struct err *why; /* then: what they hear */
    struct job *job; /* NULL once its end is recorded */
    struct core_timer deadline;
    struct store_job_insert insert;
    struct core_msg recorded;
    bool failed;
    struct caller caller[]; /* n of the group */
};

/* The calls of one group, or of one ordered pair of its ranks. */
struct series {
    struct series *next;
    char group[LIMIT_GROUP_NAME_BYTES + 1];
    bool gone; /* the group was deleted: it ends with its last job */
    bool pair;
    uint32_t src, dst; /* of a pair */
    uint32_t n;
    struct gather *gathers;
    uint32_t over;   /* of them */
    uint32_t *ranks; /* n world ranks */
    uint64_t turn[]; /* n: how often each has called */
};

/* The series that a call belongs to; NULL: none yet, or with e out of memory. */
struct series *series_find(const struct call *c);
struct series *series_make(const struct call *c, struct err *e);
bool series_wants(const struct series *s, uint32_t rank); /* as record_calls */

struct gather *gather_find(const struct series *s, uint64_t turn);
void gather_free(struct gather *g);

/* Its job ends as it stands: failed or cancelled, for all who came. */
void gather_end(struct gather *g, enum job_state to, const struct err *why);

/* All have come: it is recorded, and then queued. */
void gather_record(struct gather *g);

void gather_late(struct core_timer *t); /* fires when the deadline has passed */

#endif
