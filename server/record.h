/* record.h - a job as plain values: what is stored, what is answered. No thread: owned by whoever
 * holds it; copy it to hand it on. */
#ifndef TUTTI_SERVER_RECORD_H
#define TUTTI_SERVER_RECORD_H

#include "schema/error.h"
#include "schema/op.h"
#include "schema/state.h"
#include "server/account.h"
#include "server/id.h"

#include <stdbool.h>
#include <stdint.h>

/* When one rank was at it, from the moment the job was received; both 0: it has not said. */
struct rank_time {
    uint64_t start_ns, end_ns;
};

struct job_record {
    struct id id;
    const struct op *op;
    struct op_params params;
    struct account *owner;
    char group[LIMIT_FULL_GROUP_BYTES + 1]; /* full; "" for a list without a name */
    uint32_t n;
    uint32_t *ranks; /* world ranks in group order; owned */
    enum dtype dtype;
    struct shape in_shape, out_shape; /* of every input and of every output */
    int32_t priority;
    uint32_t stream;
    bool resident; /* the outputs stay on their ranks' devices */
    uint64_t timeout_us;
    char label[LIMIT_LABEL_BYTES + 1];

    /* Of a job that its ranks call. */
    bool called;
    bool value;        /* the tensor is the text of a JSON value; not recorded */
    bool shaped;       /* dtype and shapes are known: a rank that gives has come */
    uint64_t call_seq; /* which of its ranks' calls it is, from 0 */
    uint64_t
        *came_us; /* n, wall: when each rank came, 0: not yet; owned. NULL once it is history */

    /* Of a gradient. */
    struct id parent;           /* the job whose gradient it is; zero: none */
    bool nothing;               /* no gradient came: nobody gives, nobody gets */
    enum mask_when mask;        /* and then, of which tensors' elements: */
    enum reduction mask_reduce; /* the largest, or the smallest */

    enum job_state state;
    uint32_t attempts; /* runs begun */
    struct err *error; /* owned; NULL unless failed or cancelled */

    /* The timeline: received is wall time, the others are durations from the event before. */
    uint64_t received_us;    /* wall: the head of the request was complete */
    uint64_t validated_us;   /* received -> checked and handed to the core */
    uint64_t queued_us;      /* -> recorded in the database and queued */
    uint64_t dispatch_us;    /* -> RUN sent, of the last attempt */
    uint64_t staging_us;     /* tensors on their way to other hosts and back, in all attempts */
    uint64_t collective_us;  /* first rank's start .. last rank's end */
    uint64_t total_us;       /* received -> terminal */
    uint64_t sent_us;        /* received -> RUN sent, of the last attempt */
    uint64_t finished_us;    /* wall; 0 until terminal */
    struct rank_time *times; /* n; owned; NULL until terminal, and when it never ran */

    struct id *outputs; /* n tensor ids, zero where a rank gets nothing; owned; NULL until
                           succeeded. Ranks that get the same bytes name the same tensor. */
    struct id *awaits;  /* unfinished jobs whose outputs it takes, each once; owned; of a copy for
                           outsiders alone. Not recorded */
    uint32_t n_awaits;
    struct id *kept; /* n tensor ids that its gradient needs, once it succeeded; owned; NULL:
                        none */
};

/* An empty record with room for n ranks (and outputs), or NULL. */
struct job_record *record_new(uint32_t n);
struct job_record *record_copy(const struct job_record *r); /* deep; NULL when out of memory */
void record_free(struct job_record *r);                     /* NULL is ignored */

/* No rank gives anything: an empty array stands for what is not there. */
void record_no_tensor(struct job_record *r);

/* Are dtype and shapes those of a tensor? Not of a job that nobody gives to, as a barrier, nor of
 * one whose ranks have not said yet. */
bool record_has_tensor(const struct job_record *r);

/* As op_gives, op_gets, op_shares_output and op_is_view, of this job. */
bool record_gives(const struct job_record *r, uint32_t i);
bool record_gets(const struct job_record *r, uint32_t i);
bool record_shares_output(const struct job_record *r);
bool record_is_view(const struct job_record *r);

/* Tensors that it needs: an input a rank, and behind them a tensor a rank that makes the mask. */
uint32_t record_needs(const struct job_record *r);
const struct shape *record_need_shape(const struct job_record *r, uint32_t i);

/* Must tensors be kept for its gradient? */
bool record_keeps(const struct job_record *r);

/* Is group rank i one of those that make it, by calls? */
bool record_calls(const struct job_record *r, uint32_t i);

/* Rates of a succeeded job as nccl-tests defines them, in 10^9 bytes/s; 0 when not measurable. */
double record_algbw(const struct job_record *r);
double record_busbw(const struct job_record *r);

#endif
