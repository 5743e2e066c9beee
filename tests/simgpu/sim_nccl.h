/* sim_nccl.h - the inside of the NCCL double: a communicator, a call, the memory that ranks share.
 */
#ifndef TUTTI_TESTS_SIMGPU_SIM_NCCL_H
#define TUTTI_TESTS_SIMGPU_SIM_NCCL_H

#include "tests/simgpu/simgpu.h"

#include <nccl.h>
#include <pthread.h>
#include <stdatomic.h>

#define SIM_RANKS 32
#define SIM_CHUNK (256u << 10) /* of one rank's input that all others may read at a time */
#define SIM_MAIL (16u << 10)   /* of one sender to one receiver */

enum sim_kind {
    SIM_ALL_REDUCE,
    SIM_REDUCE,
    SIM_BROADCAST,
    SIM_ALL_GATHER,
    SIM_REDUCE_SCATTER,
    SIM_GATHER,
    SIM_SCATTER,
    SIM_ALL_TO_ALL,
    SIM_SEND, /* and below: point to point */
    SIM_RECV,
};

/* What all ranks must agree on. */
struct sim_signature {
    uint32_t kind, dtype, redop, root;
    uint64_t count;
};

struct sim_call {
    struct sim_signature is;
    const char *name;
    const uint8_t *send; /* where the bytes really are */
    uint8_t *recv;
    uint64_t send_bytes, recv_bytes; /* of this rank's buffers; 0 when it has none */
    uint32_t peer;                   /* point to point */
};

struct sim_slot {
    atomic_int pid;                    /* 0: not joined */
    atomic_ullong call;                /* collectives begun */
    atomic_ullong published, consumed; /* chunks, over all calls */
    struct sim_signature is;
    uint8_t chunk[SIM_CHUNK];
};

struct sim_mail {
    atomic_ullong sent, received; /* pieces */
    uint32_t bytes;               /* of the piece at hand */
    uint8_t piece[SIM_MAIL];
};

struct sim_shared {
    atomic_uint joined;
    uint32_t n;
    struct sim_slot slot[SIM_RANKS];
    struct sim_mail mail[]; /* n x n: from * n + to */
};

struct ncclComm {
    struct sim_shared *shared;
    uint32_t n, rank;
    char name[64];
    bool blocking;
    atomic_int state; /* ncclResult_t: in progress, success, or what went wrong */
    bool aborted, finalized, gone;
    atomic_int in_use;       /* by a thread, right now */
    uint64_t calls, chunks;  /* the stream thread's */
    uint32_t in_progress;    /* how often still to say so */
    struct sim_launch *held; /* not launched before that */
    pthread_t init_thread;
    bool init_running;
    uint64_t mail_sent[SIM_RANKS], mail_received[SIM_RANKS];
    struct ncclComm *next;
};

/* What one outermost ncclGroupEnd starts on one communicator and stream. */
struct sim_launch {
    struct simgpu_work work;
    struct ncclComm *comm;
    struct CUstream_st *stream;
    uint64_t ticket;
    uint32_t n_calls;
    struct sim_call *calls;
    uint64_t slow_us;
    bool async_error, hang, die;
    struct sim_launch *next;
};

/* nccl_run.c: on the stream's thread. */
void sim_run(struct simgpu_work *w);
bool sim_wait(struct ncclComm *c, const atomic_ullong *value, uint64_t at_least, const char *what,
              uint32_t rank);

/* nccl_reduce.c */
uint32_t sim_dtype_bytes(uint32_t dtype);
/* into = into OP from, count elements, rounded to the type at each step as NCCL does. */
void sim_reduce(uint8_t *into, const uint8_t *from, uint64_t count, uint32_t dtype, uint32_t redop,
                uint32_t n);

/* nccl.c */
void sim_set_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Waits for nothing; NULL after a complaint. */
struct ncclComm *sim_comm(const char *call, ncclComm_t c);

/* nccl_group.c */
int sim_group_depth(void);
void sim_launch_held(struct ncclComm *c);
void sim_group_leak(void); /* a failed init leaves a level open, as 2.28 does */

#endif
