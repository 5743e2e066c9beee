/* nccl_parts.h - what the files of the NCCL backend share: the device, a communicator, a staged
 * batch. Main thread. */
#ifndef TUTTI_WORKER_NCCL_NCCL_PARTS_H
#define TUTTI_WORKER_NCCL_NCCL_PARTS_H

#include "worker/backend.h"
#include "worker/copy.h"
#include "worker/nccl/rt.h"

#define SLOTS 4                 /* chunks on their way at once */
#define SLOT_BYTES (8ull << 20) /* of a slot's input, and of its output */
#define GRAIN 64                /* chunks and parts begin at multiples of this: whole, aligned */

/* Device memory for one chunk, and the events that order who uses it. Where the arena is not pinned
 * every byte goes through pinned memory of the slot's own, laid out as that on the device. */
struct slot {
    uint8_t *in, *out;
    uint8_t *host_in, *host_out; /* or NULL */
    rtEvent_t in_done, run_done, out_done;
};

/* The way of one batch through the device. As many as there are batches at once. */
struct stage {
    struct stage *next;
    bool taken;
    rtStream_t in, out; /* copies in, copies out: an engine each */
    struct slot slot[SLOTS];
};

struct resident; /* the tensors that live on the device: resident.h */

struct device {
    struct place at;
    int number;
    bool registered;                  /* the arena is pinned */
    rtStream_t run[LIMIT_STREAM + 1]; /* collectives, one a stream; made when first joined */
    rtStream_t aside;                 /* resident tensors to the arena */
    uint8_t *aside_host;              /* SLOT_BYTES of pinned memory on their way, or NULL */
    struct stage *stages;
    struct comm *comms;
    struct resident *resident;
};

/* One side of a task: where its blocks lie. */
struct end {
    uint8_t *at;       /* NULL: this rank gives, gets nothing */
    bool device;       /* a resident tensor; else in the arena */
    bool direct;       /* NCCL works on it where it lies; else through a slot */
    uint32_t blocks;   /* 1, or n */
    struct rows rows;  /* of block 0 */
    uint64_t step;     /* bytes from a block's first to the next one's */
    uint64_t in_stage; /* where in the slot's memory it begins */
};

/* One rank's part of a task, and how it is cut. A block is what one rank has for one other. */
struct part {
    const struct task *task;
    uint64_t bytes, chunk_bytes; /* of a block; of the piece of it that one chunk carries */
    uint64_t chunks;
    struct end in, out;
    bool shared; /* all ranks of a host have one output: each copies its share of it out */
};

enum phase {
    PHASE_IDLE,
    PHASE_MOVING,
    PHASE_LAUNCHING, /* a call is not on its stream yet */
    PHASE_ENDED,     /* to be reported */
    PHASE_LOST,      /* aborted for another communicator's sake: to be reported */
};

struct comm {
    struct comm *next; /* of the device */
    struct device *device;
    ncclComm_t nccl; /* NULL once aborted */
    uint32_t n, rank;
    uint32_t here, place; /* ranks on this host, and which of them this is */
    rtStream_t run;
    bool ready; /* every rank has come */
    enum phase phase;
    struct stage *stage;
    struct part parts[LIMIT_BATCH_JOBS];
    uint32_t n_parts, reported;
    uint64_t chunks, begun, ended; /* of the batch; more than one only when it is one task */
    uint64_t start_ns, end_ns;
    uint64_t done_bytes;
};

/* A piece of every block of a part, as it lies on the device. */
struct chunk {
    struct comm *comm;
    const struct task *task;
    const uint8_t *in;
    uint8_t *out;
    uint64_t bytes; /* of one block's piece */
};

/* ---- calls.c: one function a kind, the NCCL calls of one chunk ---- */

/* Starts the chunk's collective on the communicator's stream. ncclInProgress: ask the communicator.
 */
ncclResult_t nccl_launch(const struct chunk *c);

/* Does NCCL reduce this type? bool as the bytes 0 and 1; 16-bit integers it does not. */
bool nccl_reduces(enum reduction r, enum dtype d);

/* ---- plan.c ---- */

/* The part of a task; held, kept: the resident input and output, or NULL. */
void nccl_plan(struct part *p, const struct task *t, uint8_t *held, uint8_t *kept);

/* ---- stage.c ---- */

/* Pushes what can be pushed, looks what has ended. 1: the batch is complete; 0: not yet; -1 with e.
 */
int nccl_stage(struct comm *c, struct err *e);

/* ---- facts.c: as backend.h has them ---- */
uint32_t nccl_devices(void);
int nccl_describe(const char *device, struct gpu_facts *out, struct err *e);

/* N of "gpu:N". Returns 0, or -1 with ERR_option when there is no such device. */
int nccl_find_number(const char *name, int *out, struct err *e);

/* ---- device.c ---- */
int nccl_open(struct device **out, const struct place *at, struct err *e);
void nccl_close(struct device *d);
struct stage *nccl_take_stage(struct device *d, struct err *e); /* NULL with e */
/* The stream of this number, made now if it is new. Returns 0, or -1 with e. */
int nccl_stream(struct device *d, uint32_t number, rtStream_t *out, struct err *e);

/* The error as ours. Returns -1. A failed CUDA call: the device is not to be used any more. */
int nccl_cuda_failed(struct err *e, const char *call, rtError_t rc);
/* The device, or this process' NCCL, is not to be used any more but to leave. */
void nccl_break(void);
bool nccl_broken(void);

/* ---- comms.c: as backend.h has them ---- */
int nccl_ticket(struct device *d, char *out, size_t size, struct err *e);
int nccl_join(struct device *d, const struct seat *seat, struct comm **out, struct err *e);
void nccl_abort(struct comm *c);
void nccl_leave(struct comm *c, bool peers_lost);

/* 1: every rank has come; 0: not yet; -1 with e. */
int nccl_meet(struct comm *c, struct err *e);
int nccl_failed(struct comm *c, struct err *e, const char *call, ncclResult_t rc);
void nccl_nap(uint64_t since_ns); /* of a poll that finds nothing to do; since when it waits */

#endif
