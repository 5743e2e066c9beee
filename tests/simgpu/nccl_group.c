/* nccl_group.c - calls: their arguments checked, gathered in groups, launched on streams. */
#include "tests/simgpu/sim_nccl.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __thread int depth;
static __thread struct sim_launch *group; /* oldest first */

int sim_group_depth(void)
{
    return depth;
}

void sim_group_leak(void)
{
    depth++;
}

/* ---- launch ---- */

static void take_faults(struct sim_launch *l)
{
    l->async_error = simgpu_fault("async", NULL);
    l->hang = simgpu_fault("hang", NULL);
    l->die = simgpu_fault("die", NULL);
    simgpu_fault("slow", &l->slow_us);
}

static void push(struct sim_launch *l)
{
    l->ticket = simgpu_kernel_ticket();
    l->work.run = sim_run;
    take_faults(l);
    simgpu_count_launch(l->n_calls);
    simgpu_stream_push(l->stream, &l->work);
}

void sim_launch_held(struct ncclComm *c)
{
    struct sim_launch *l = c->held;

    c->held = NULL;
    if (l)
        push(l);
}

static ncclResult_t launch(struct sim_launch *l)
{
    struct ncclComm *c = l->comm;

    c->in_progress = c->blocking ? 0 : (uint32_t)simgpu_env("SIMGPU_IN_PROGRESS", 0);
    if (c->in_progress == 0) {
        push(l);
        return ncclSuccess;
    }
    c->held = l;
    return ncclInProgress;
}

static ncclResult_t launch_group(void)
{
    ncclResult_t rc = ncclSuccess;

    while (group) {
        struct sim_launch *l = group;

        group = l->next;
        if (launch(l) == ncclInProgress)
            rc = ncclInProgress;
    }
    return rc;
}

ncclResult_t ncclGroupStart(void)
{
    depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (depth == 0) {
        simgpu_misuse("ncclGroupEnd", "without ncclGroupStart");
        return ncclInvalidUsage;
    }
    return --depth == 0 ? launch_group() : ncclSuccess;
}

/* ---- one call ---- */

static struct sim_launch *launch_of(struct ncclComm *c, struct CUstream_st *s)
{
    struct sim_launch **at = &group;

    while (*at && ((*at)->comm != c || (*at)->stream != s))
        at = &(*at)->next;
    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (*at)
            **at = (struct sim_launch){.comm = c, .stream = s};
    }
    return *at;
}

static bool usable(const struct ncclComm *c, const char *name)
{
    if (c->aborted || c->finalized)
        simgpu_misuse(name, "the communicator was %s", c->aborted ? "aborted" : "finalized");
    else if (atomic_load(&c->state) == ncclInProgress)
        simgpu_misuse(name, "the communicator is not ready yet");
    else if (c->in_progress > 0)
        simgpu_misuse(name, "the call before it is still in progress");
    else
        return true;
    return false;
}

static bool find_buffers(const char *name, struct sim_call *call, const void *send, void *recv)
{
    uint32_t size = sim_dtype_bytes(call->is.dtype);
    const void *both[] = {send, recv};

    for (int i = 0; i < 2; i++) {
        uint64_t bytes = i ? call->recv_bytes : call->send_bytes;
        uint8_t *at = bytes ? simgpu_device_bytes(name, both[i], bytes) : NULL;

        if (bytes && !at)
            return false;
        if (bytes && (uintptr_t)both[i] % size != 0)
            simgpu_misuse(name, "%p is not aligned to the %u bytes of the type", both[i], size);
        if (i)
            call->recv = at;
        else
            call->send = at;
    }
    return true;
}

/* Buffers may be the same where NCCL says so, and else must not touch. */
static void check_overlap(const char *name, const struct sim_call *call, const struct ncclComm *c)
{
    const uint8_t *in_place = call->recv;
    const uint8_t *send = call->send;

    if (!call->send_bytes || !call->recv_bytes)
        return;
    if (call->is.kind == SIM_ALL_GATHER || call->is.kind == SIM_GATHER)
        in_place = call->recv + c->rank * call->send_bytes;
    if (call->is.kind == SIM_REDUCE_SCATTER || call->is.kind == SIM_SCATTER)
        send = call->send + c->rank * call->recv_bytes;
    if (call->send < call->recv + call->recv_bytes && call->recv < call->send + call->send_bytes &&
        send != in_place)
        simgpu_misuse(name, "the buffers overlap and are not in place");
}

static ncclResult_t enqueue(ncclComm_t comm, const struct sim_call *call, const void *send,
                            void *recv, cudaStream_t stream)
{
    struct ncclComm *c = sim_comm(call->name, comm);
    struct CUstream_st *s = simgpu_stream(call->name, stream);
    struct sim_launch *l;
    struct sim_call mine = *call, *calls;
    struct simgpu_clock *clock;
    int id;

    if (!c || !s)
        return ncclInvalidArgument;
    if (simgpu_fault("oom", NULL)) {
        sim_set_error("Failed to CUDA calloc 10485760 bytes: out of memory");
        return ncclUnhandledCudaError;
    }
    if (!usable(c, call->name) || !find_buffers(call->name, &mine, send, recv))
        return ncclInvalidArgument;
    check_overlap(call->name, &mine, c);
    l = launch_of(c, s);
    calls = l ? realloc(l->calls, (l->n_calls + 1) * sizeof *calls) : NULL;
    if (!calls)
        return ncclSystemError;
    l->calls = calls;
    l->calls[l->n_calls++] = mine;
    clock = simgpu_stream_clock(s);
    id = simgpu_stream_id(s);
    simgpu_order_begin(clock, id);
    simgpu_order_access(call->name, clock, id, send, mine.send_bytes, false);
    simgpu_order_access(call->name, clock, id, recv, mine.recv_bytes, true);
    simgpu_order_work(clock, SIMGPU_NCCL,
                      mine.send_bytes > mine.recv_bytes ? mine.send_bytes : mine.recv_bytes);
    return ncclSuccess;
}

/* A call outside a group is a group of its own. */
static ncclResult_t call(ncclComm_t comm, struct sim_call *call, const void *send, void *recv,
                         cudaStream_t stream)
{
    ncclResult_t rc, end;
    int nobody = 0;

    if (!comm) {
        sim_set_error("%s : comm argument is NULL", call->name);
        simgpu_misuse(call->name, "comm is NULL");
        return ncclInvalidArgument;
    }
    if (simgpu_device_error() != cudaSuccess) {
        sim_set_error("Cuda failure 'unspecified launch failure'");
        return ncclUnhandledCudaError;
    }
    if (!atomic_compare_exchange_strong(&comm->in_use, &nobody, 1)) {
        simgpu_misuse(call->name, "the communicator is in use by another thread at this moment");
        return ncclInvalidUsage;
    }
    simgpu_sleep_us(simgpu_env("SIMGPU_CALL_US", 0)); /* so that a test's two threads do meet */
    ncclGroupStart();
    rc = enqueue(comm, call, send, recv, stream);
    end = ncclGroupEnd();
    atomic_store(&comm->in_use, 0);
    return rc != ncclSuccess ? rc : end;
}

static uint64_t bytes_of(uint64_t count, ncclDataType_t type)
{
    return count * sim_dtype_bytes(type);
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {.is = {SIM_ALL_REDUCE, type, op, 0, count}, .name = "ncclAllReduce"};

    c.send_bytes = c.recv_bytes = bytes_of(count, type);
    return call(comm, &c, send, recv, stream);
}

ncclResult_t ncclReduce(const void *send, void *recv, size_t count, ncclDataType_t type,
                        ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {.is = {SIM_REDUCE, type, op, (uint32_t)root, count}, .name = "ncclReduce"};

    c.send_bytes = bytes_of(count, type);
    c.recv_bytes = comm && comm->rank == (uint32_t)root ? c.send_bytes : 0;
    return call(comm, &c, send, recv, stream);
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {.is = {SIM_BROADCAST, type, 0, (uint32_t)root, count},
                         .name = "ncclBroadcast"};

    c.recv_bytes = bytes_of(count, type);
    c.send_bytes = comm && comm->rank == (uint32_t)root ? c.recv_bytes : 0;
    return call(comm, &c, send, recv, stream);
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {.is = {SIM_ALL_GATHER, type, 0, 0, count}, .name = "ncclAllGather"};

    c.send_bytes = bytes_of(count, type);
    c.recv_bytes = comm ? c.send_bytes * comm->n : 0;
    return call(comm, &c, send, recv, stream);
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {.is = {SIM_REDUCE_SCATTER, type, op, 0, count},
                         .name = "ncclReduceScatter"};

    c.recv_bytes = bytes_of(count, type);
    c.send_bytes = comm ? c.recv_bytes * comm->n : 0;
    return call(comm, &c, send, recv, stream);
}

ncclResult_t ncclAlltoAll(const void *send, void *recv, size_t count, ncclDataType_t type,
                          ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {.is = {SIM_ALL_TO_ALL, type, 0, 0, count}, .name = "ncclAlltoAll"};

    c.send_bytes = c.recv_bytes = comm ? bytes_of(count, type) * comm->n : 0;
    return call(comm, &c, send, recv, stream);
}

ncclResult_t ncclGather(const void *send, void *recv, size_t count, ncclDataType_t type, int root,
                        ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {.is = {SIM_GATHER, type, 0, (uint32_t)root, count}, .name = "ncclGather"};

    c.send_bytes = bytes_of(count, type);
    c.recv_bytes = comm && comm->rank == (uint32_t)root ? c.send_bytes * comm->n : 0;
    return call(comm, &c, send, recv, stream);
}

ncclResult_t ncclScatter(const void *send, void *recv, size_t count, ncclDataType_t type, int root,
                         ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {.is = {SIM_SCATTER, type, 0, (uint32_t)root, count},
                         .name = "ncclScatter"};

    c.recv_bytes = bytes_of(count, type);
    c.send_bytes = comm && comm->rank == (uint32_t)root ? c.recv_bytes * comm->n : 0;
    return call(comm, &c, send, recv, stream);
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream)
{
    struct sim_call c = {
        .is = {SIM_SEND, type, 0, 0, count}, .name = "ncclSend", .peer = (uint32_t)peer};

    c.send_bytes = bytes_of(count, type);
    return call(comm, &c, send, NULL, stream);
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    struct sim_call c = {
        .is = {SIM_RECV, type, 0, 0, count}, .name = "ncclRecv", .peer = (uint32_t)peer};

    c.recv_bytes = bytes_of(count, type);
    return call(comm, &c, NULL, recv, stream);
}
