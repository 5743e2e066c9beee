/* nccl_parts.h - what the files of the NCCL backend share: the device, a communicator, a staged
 * task. Main thread, but for nccl_progress. */
#ifndef TUTTI_WORKER_NCCL_NCCL_PARTS_H
#define TUTTI_WORKER_NCCL_NCCL_PARTS_H

#include "worker/backend.h"
#include "worker/copy.h"
#include "worker/nccl/rt.h"

#include <stdatomic.h>

#define SLOTS 4                 /* chunks on their way at once */
#define SLOT_BYTES (8ull << 20) /* of a slot's input, and of its output */

/* Device memory for one chunk, and the events that order who uses it. */
struct slot {
    uint8_t *in, *out;
    rtEvent_t in_done, run_done, out_done;
};

struct device {
    struct place at;
    int number;
    rtStream_t in, run, out; /* copies in, collectives, copies out: three engines of a GPU */
    bool registered;         /* the arena is pinned */
    struct slot slot[SLOTS];
};

/* How one rank's part of a task is cut. All in bytes of one block: what moves between two ranks. */
struct plan {
    uint64_t bytes, chunk_bytes;    /* of a block; of the piece of it that one chunk carries */
    uint32_t in_blocks, out_blocks; /* 0: this rank gives, gets nothing; 1, or n */
    struct rows from, to;           /* where block 0 lies in the host tensors */
    uint64_t from_step, to_step;    /* bytes from a block's offset to the next one's */
    const uint8_t *src;
    uint8_t *dst;
    bool shared; /* all ranks have one output: each copies its share of it out */
};

enum stage { STAGE_IDLE, STAGE_MOVING, STAGE_LAUNCHING };

struct comm {
    struct device *device;
    ncclComm_t nccl; /* NULL once aborted */
    uint32_t n, rank;
    bool ready; /* every rank has come */
    enum stage stage;
    struct task task;
    struct plan plan;
    uint64_t chunks, begun, ended; /* of the task */
    uint64_t start_ns;
    atomic_uint_least64_t done_bytes;
};

/* A piece of every block, as it lies on the device. */
struct chunk {
    struct comm *comm;
    const uint8_t *in;
    uint8_t *out;
    uint64_t bytes; /* of one block's piece */
};

/* ---- calls.c: one function a kind, the NCCL calls of one chunk ---- */

/* Starts the chunk's collective on the device's run stream. ncclInProgress: ask the communicator.
 */
ncclResult_t nccl_launch(const struct chunk *c);

/* Does NCCL reduce this type? bool as the bytes 0 and 1; 16-bit integers it does not. */
bool nccl_reduces(enum dtype d);

/* ---- plan.c ---- */
void nccl_plan(struct comm *c); /* from c->task */

/* ---- stage.c ---- */

/* Pushes what can be pushed, looks what has ended. 1: the task is complete; 0: not yet; -1 with e.
 */
int nccl_stage(struct comm *c, struct err *e);

/* ---- facts.c: as backend.h has them ---- */
uint32_t nccl_devices(void);
int nccl_describe(const char *device, struct gpu_facts *out, struct err *e);

/* N of "gpu:N". Returns 0, or -1 with ERR_option when there is no such device. */
int nccl_find_number(const char *name, int *out, struct err *e);

/* ---- nccl.c ---- */

/* The error as ours. Returns -1. A failed CUDA call: the device is not to be used any more. */
int nccl_cuda_failed(struct err *e, const char *call, rtError_t rc);
int nccl_failed(struct comm *c, struct err *e, const char *call, ncclResult_t rc);

#endif
