/* backend.h - what a worker needs from shared memory, NCCL or gloo.
 *
 * One table of functions a backend. All are called from the worker's main thread. Nothing outside
 * a backend's folder knows CUDA or gloo.
 */
#ifndef TUTTI_WORKER_BACKEND_H
#define TUTTI_WORKER_BACKEND_H

#include "schema/error.h"
#include "schema/op.h"
#include "schema/shape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device; /* a backend's hold on the machine; opaque */
struct comm;   /* a communicator: this rank's seat in one ordered group; opaque */

/* What is known of a GPU, and which libraries drive it. Versions as people write them. */
struct gpu_facts {
    uint64_t memory_bytes; /* 0: there is no GPU */
    char name[64], uuid[48], pci_id[24];
    char driver_version[16], runtime_version[16], nccl_version[16];
    char runtime_path[128], nccl_path[128]; /* the files in use */
    bool simulated;                         /* by the libraries of tests/simgpu */
};

/* Gives every other rank of a communicator bytes of ours, by way of the server: backend.heard says
 * so there. Main thread. Returns 0, or -1 with e. */
typedef int store_put_fn(uint64_t comm, const char *key, const uint8_t *value, uint32_t bytes,
                         struct err *e);

/* Where a worker sits. */
struct place {
    uint32_t rank, world_size; /* world rank */
    bool one_machine;          /* no rank is on another */
    const char *device;        /* "cpu", "gpu:0" */
    uint8_t *arena;            /* the mapped arena; outlives the device */
    uint64_t arena_bytes;
    const char *address; /* at which other hosts reach this one; "" is this machine alone */
    store_put_fn *put;   /* for backends that have heard */
};

/* A rank's seat in a group. */
struct seat {
    uint64_t id;           /* the server's name for the communicator */
    uint32_t n, rank;      /* group size, group rank */
    uint32_t stream;       /* 0 .. LIMIT_STREAM: tasks of one are done in order */
    const uint32_t *ranks; /* world ranks in group order; the caller's, copied if kept */
    const uint32_t *hosts; /* n: equal for ranks of one host, by first appearance; as ranks */
    uint32_t n_hosts;
    const char *ticket; /* how to find the others; "" where there is none */
};

/* One rank's part of a job, checked by task_prepare: every pointer spans its whole tensor. */
struct task {
    uint64_t job;
    uint32_t attempt;
    const struct op *op;
    struct op_params params;
    enum dtype dtype;
    uint32_t n, rank;
    struct shape in, out;
    uint64_t in_bytes, out_bytes; /* of one tensor */
    const uint8_t **inputs;       /* n: NULL where a rank gives nothing, or is on another host */
    uint8_t **outputs;            /* n: NULL likewise; equal where shared */
    uint64_t held, keep; /* resident tensors: where this rank's input is, where its output is to
                            stay; 0: in the arena */
    /* Of all ranks, and so the same on each: */
    bool all_held;              /* every input is on its rank's device */
    bool resident;              /* the outputs stay on the devices: none is a view of an input */
    enum mask_when mask;        /* MASK_NONE, or mask.c's; across hosts a backend's that masks */
    enum reduction mask_reduce; /* and keeps the largest or the smallest elements */
    const uint8_t **masks;      /* of these, n; in the shape of out (AFTER) or in (BEFORE) */
};

/* How a submitted task ended. */
struct done {
    uint64_t job;
    int rc; /* 0, or -1 with err: then also of all that was submitted with it and has not ended */
    struct err err;
    bool fatal;                /* with rc -1: the process is of no use any more, and must end */
    uint64_t start_ns, end_ns; /* CLOCK_MONOTONIC */
};

struct backend {
    const char *name;
    bool masks;       /* masked tasks of a group that spans hosts, which mask.c cannot do */
    bool memory_only; /* open, it needs nothing of the system but memory: sandbox.c refuses it */
    /* GPUs that this machine has for it, asked before open; NULL: it runs on the CPU. */
    uint32_t (*devices)(void);
    /* The facts of the device called "gpu:N". Returns 0, or -1 with ERR_option when there is no
     * such device and ERR_worker_failed when it does not answer. NULL: it runs on the CPU. */
    int (*describe)(const char *device, struct gpu_facts *out, struct err *e);
    /* Does it reduce this dtype so (where the operation does)? */
    bool (*reduces)(enum reduction r, enum dtype d);
    /* How the ranks of the next communicator with this rank first will find each other; every
     * ticket serves once. NULL: they need none. Returns 0, or -1 with e. */
    int (*ticket)(struct device *d, char *out, size_t size, struct err *e);
    int (*open)(struct device **out, const struct place *at, struct err *e);
    int (*join)(struct device *d, const struct seat *seat, struct comm **out, struct err *e);
    /* Another rank's put on this communicator. NULL, if none of its ranks puts anything. */
    void (*heard)(struct comm *c, const char *key, const uint8_t *value, uint32_t bytes);
    /* A batch of n tasks, 1 to LIMIT_BATCH_JOBS, which every rank of the group has in this order.
     * Returns at once; tasks stays the caller's, and as it is, until the last of them has ended. */
    int (*submit)(struct comm *c, struct task *const *tasks, uint32_t n, struct err *e);
    /* Works for a short while (a fraction of a millisecond). 1: a task of the batch ended, in their
     * order, *out is set; 0: none yet, call again; -1 with e: the communicator is broken. */
    int (*poll)(struct comm *c, struct done *out, struct err *e);
    /* Bytes of the batch's outputs that this rank has written: progress, for heartbeats. */
    uint64_t (*progress)(const struct comm *c);
    /* Drops the batch: no peer may hang, and nothing is written after. */
    void (*abort)(struct comm *c);
    /* peers_lost: one is gone or has aborted; it is not waited for. */
    void (*leave)(struct comm *c, bool peers_lost);
    void (*close)(struct device *d);
    /* A tensor that a task was told to keep on the device: its bytes to the arena. Returns 0, or -1
     * with ERR_worker_failed when it is not there and ERR_link when the device is of no use any
     * more. NULL, as is drop: tensors are not resident on this backend. */
    int (*fetch)(struct device *d, uint64_t id, uint8_t *to, uint64_t bytes, struct err *e);
    void (*drop)(struct device *d, uint64_t id); /* forgets it, if it is there */
};

/* The compiled-in backend called name, or NULL. "auto": the one for this device ("cpu", "gpu:N").
 */
const struct backend *backend_find(const char *name, const char *device);

/* GPUs that any of them can use. */
uint32_t backend_gpus(void);

/* "shm ...": every compiled-in name, for an error's detail. */
const char *backend_names(void);

#endif
