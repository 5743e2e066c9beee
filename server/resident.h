/* resident.h - tensors that live on devices: which ranks have a copy, how much room is left there,
 * their way to the arena. Core thread only, unless said.
 *
 * A job with resident=true on ranks with GPUs leaves its outputs there. A rank takes an input from
 * its device when it has a copy; otherwise the bytes are fetched to the arena first, as they are
 * for whoever reads them. When a device's share is used up, what was used longest ago makes room: a
 * copy that is elsewhere, too, is dropped, any other is fetched first. On CPUs the arena is the
 * device, and nothing here happens.
 */
#ifndef TUTTI_SERVER_RESIDENT_H
#define TUTTI_SERVER_RESIDENT_H

#include "schema/error.h"
#include "schema/frame.h"
#include "server/core.h"
#include "server/job.h"
#include "server/tensor.h"

/* From now on a tensor that is freed frees its residence at once: after core_stop. */
void resident_close(void);

/* Does this job leave its outputs on devices? */
bool resident_stays(const struct job_record *r);

/* Can it start, as far as its inputs and the room for its outputs go? Returns 0; 1: not yet,
 * scheduler_freed tells; or -1 with ERR_inputs_lost, ERR_device_full (asked_bytes, free_bytes) or
 * ERR_arena_full. */
int resident_prepare(struct job *j, struct err *e);

/* Would an output of so many bytes never fit on one of its devices? */
bool resident_too_large(const struct job_record *r, uint64_t bytes);

/* Its inputs may not leave their devices (begin), may again. */
void resident_hold(const struct job *j, bool begin);

/* Makes t, fresh and without an extent, live on these n world ranks: their room is taken. Returns
 * 0, or -1 with ERR_no_memory. */
int resident_make(struct tensor *t, const uint32_t *ranks, uint32_t n, struct err *e);

/* The link's number for the input of group rank i, if it takes it from its device; else 0. */
uint64_t resident_input(const struct job *j, uint32_t i);
/* The link's number of an output that stays on its device; else 0. */
uint64_t resident_output(const struct tensor *t);

/* From workers: the rank's worker has gone, and its device's memory with it; it has answered. */
void resident_rank_lost(uint32_t world_rank);
void resident_fetched(uint32_t world_rank, const struct frame_fetched *f);

/* Somebody who wants a tensor's bytes in the arena. */
struct resident_wait {
    void (*done)(struct resident_wait *w); /* core thread, exactly once */
    struct tensor *tensor;                 /* a reference of the asker's, kept until done */
    int rc;                                /* 0, or -1 with err: ERR_tensor_lost, ERR_arena_full */
    struct err err;
    struct core_msg msg; /* resident.c's, as is next */
    struct resident_wait *next;
};

/* Any thread. */
void resident_want(struct resident_wait *w);

#endif
