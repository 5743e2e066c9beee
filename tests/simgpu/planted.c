/* planted.c - small programs with one mistake each, to show that the simulated GPU sees it.
 *
 * planted NAME runs one; its ranks are processes, made before any of them touches CUDA. Linked to
 * the real libraries, as the worker is. `right` has no mistake. tests/simgpu/planted.sh says what
 * each has to be told.
 */
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT 200000
#define BYTES (COUNT * sizeof(float))
#define RANKS 2

static struct {
    int rank;
    ncclComm_t comm;
    cudaStream_t stream, other;
    cudaEvent_t event;
    float *host, *device, *result; /* host: pinned */
} my;

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void need(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "planted: %s failed\n", what);
        _exit(3);
    }
}

static ncclResult_t settle(ncclComm_t comm)
{
    ncclResult_t state = ncclInProgress;

    for (int i = 0; i < 5000 && state == ncclInProgress; i++) {
        ncclCommGetAsyncError(comm, &state);
        pause_ms(1);
    }
    return state;
}

static void start(const ncclUniqueId *id)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclResult_t rc;

    config.blocking = 0;
    need(cudaSetDevice(my.rank) == cudaSuccess, "cudaSetDevice");
    need(cudaStreamCreateWithFlags(&my.stream, cudaStreamNonBlocking) == cudaSuccess, "stream");
    need(cudaStreamCreateWithFlags(&my.other, cudaStreamNonBlocking) == cudaSuccess, "stream");
    need(cudaEventCreateWithFlags(&my.event, cudaEventDisableTiming) == cudaSuccess, "event");
    need(cudaMallocHost((void **)&my.host, BYTES) == cudaSuccess, "cudaMallocHost");
    need(cudaMalloc((void **)&my.device, BYTES) == cudaSuccess, "cudaMalloc");
    need(cudaMalloc((void **)&my.result, BYTES) == cudaSuccess, "cudaMalloc");
    rc = ncclCommInitRankConfig(&my.comm, RANKS, *id, my.rank, &config);
    need(rc == ncclSuccess || rc == ncclInProgress, "ncclCommInitRankConfig");
    need(settle(my.comm) == ncclSuccess, "the communicator");
    for (int i = 0; i < COUNT; i++)
        my.host[i] = (float)(my.rank + 1);
}

static void stop(void)
{
    ncclCommFinalize(my.comm);
    settle(my.comm);
    ncclCommDestroy(my.comm);
    cudaEventDestroy(my.event);
    cudaStreamDestroy(my.stream);
    cudaStreamDestroy(my.other);
    cudaFree(my.device);
    cudaFree(my.result);
    cudaFreeHost(my.host);
}

static void copy_in(cudaStream_t s)
{
    cudaMemcpyAsync(my.device, my.host, BYTES, cudaMemcpyHostToDevice, s);
}

static void copy_out(cudaStream_t s)
{
    cudaMemcpyAsync(my.host, my.result, BYTES, cudaMemcpyDeviceToHost, s);
}

static ncclResult_t reduce(cudaStream_t s)
{
    ncclResult_t rc = ncclAllReduce(my.device, my.result, COUNT, ncclFloat32, ncclSum, my.comm, s);

    return rc == ncclInProgress ? settle(my.comm) : rc;
}

static int is_sum(void)
{
    for (int i = 0; i < COUNT; i++) {
        if (my.host[i] != 3)
            return 0;
    }
    return 1;
}

/* ---- no mistake ---- */

static void right(void)
{
    copy_in(my.stream);
    need(reduce(my.stream) == ncclSuccess, "ncclAllReduce");
    copy_out(my.stream);
    need(cudaStreamSynchronize(my.stream) == cudaSuccess, "cudaStreamSynchronize");
    need(is_sum(), "the sum");
}

static void right_on_two_streams(void)
{
    copy_in(my.other);
    cudaEventRecord(my.event, my.other);
    cudaStreamWaitEvent(my.stream, my.event, 0);
    need(reduce(my.stream) == ncclSuccess, "ncclAllReduce");
    cudaEventRecord(my.event, my.stream);
    cudaStreamWaitEvent(my.other, my.event, 0);
    copy_out(my.other);
    cudaEventRecord(my.event, my.other);
    while (cudaEventQuery(my.event) == cudaErrorNotReady)
        pause_ms(1);
    need(is_sum(), "the sum");
}

/* ---- memory ---- */

static void host_pointer(void)
{
    ncclAllReduce(my.host, my.result, COUNT, ncclFloat32, ncclSum, my.comm, my.stream);
}

static void pageable_copy(void)
{
    float *pageable = calloc(COUNT, sizeof *pageable);

    cudaMemcpyAsync(my.device, pageable, BYTES, cudaMemcpyHostToDevice, my.stream);
    cudaStreamSynchronize(my.stream);
    free(pageable);
}

static void device_as_host(void)
{
    cudaMemcpyAsync(my.device, my.result, BYTES, cudaMemcpyHostToDevice, my.stream);
}

static void freed(void)
{
    float *gone;

    cudaMalloc((void **)&gone, BYTES);
    cudaFree(gone);
    cudaMemcpyAsync(gone, my.host, BYTES, cudaMemcpyHostToDevice, my.stream);
}

static void overrun(void)
{
    cudaMemcpyAsync(my.device + 16, my.host, BYTES, cudaMemcpyHostToDevice, my.stream);
}

static void touched_by_host(void)
{
    my.device[0] = 1;
}

/* ---- order ---- */

static void no_wait_before_collective(void)
{
    copy_in(my.other);
    reduce(my.stream);
    cudaStreamSynchronize(my.other);
    cudaStreamSynchronize(my.stream);
}

static void no_wait_before_copy_out(void)
{
    copy_in(my.stream);
    reduce(my.stream);
    copy_out(my.other);
    cudaStreamSynchronize(my.other);
    cudaStreamSynchronize(my.stream);
}

static void read_too_early(void)
{
    copy_in(my.stream);
    reduce(my.stream);
    copy_out(my.stream);
    need(is_sum(), "the sum"); /* nothing was waited for */
}

static void source_reused(void)
{
    copy_in(my.stream);
    my.host[5] = 99;
    cudaStreamSynchronize(my.stream);
}

static void default_stream(void)
{
    cudaMemcpyAsync(my.device, my.host, BYTES, cudaMemcpyHostToDevice, NULL);
}

/* ---- groups and ranks ---- */

static void group_left_open(void)
{
    ncclGroupStart();
}

static void end_without_start(void)
{
    ncclGroupEnd();
}

static void synchronised_in_group(void)
{
    ncclGroupStart();
    cudaStreamSynchronize(my.stream);
    ncclGroupEnd();
}

/* What was launched wrongly spins until it is aborted, as on a GPU. */
static void give_up(void)
{
    pause_ms(300);
    ncclCommAbort(my.comm);
    cudaEventDestroy(my.event);
    cudaStreamDestroy(my.stream);
    cudaStreamDestroy(my.other);
    cudaFree(my.device);
    cudaFree(my.result);
    cudaFreeHost(my.host);
    exit(0);
}

static void counts_differ(void)
{
    ncclAllReduce(my.device, my.result, COUNT - (size_t)my.rank, ncclFloat32, ncclSum, my.comm,
                  my.stream);
    give_up();
}

static void types_differ(void)
{
    ncclAllReduce(my.device, my.result, COUNT, my.rank ? ncclInt32 : ncclFloat32, ncclSum, my.comm,
                  my.stream);
    give_up();
}

static void roots_differ(void)
{
    ncclBroadcast(my.device, my.result, COUNT, ncclFloat32, my.rank, my.comm, my.stream);
    give_up();
}

static void order_differs(void)
{
    if (my.rank == 0) {
        ncclAllReduce(my.device, my.result, COUNT, ncclFloat32, ncclSum, my.comm, my.stream);
        ncclAllReduce(my.device, my.result, 10, ncclFloat32, ncclMax, my.comm, my.stream);
    } else {
        ncclAllReduce(my.device, my.result, 10, ncclFloat32, ncclMax, my.comm, my.stream);
        ncclAllReduce(my.device, my.result, COUNT, ncclFloat32, ncclSum, my.comm, my.stream);
    }
    give_up();
}

static void *reduce_main(void *arg)
{
    (void)arg;
    reduce(my.stream);
    return NULL;
}

static void two_threads(void)
{
    pthread_t thread;

    need(pthread_create(&thread, NULL, reduce_main, NULL) == 0, "thread");
    reduce(my.stream);
    pthread_join(thread, NULL);
    give_up();
}

/* ---- life ---- */

static void destroyed_stream(void)
{
    cudaStream_t gone;

    cudaStreamCreateWithFlags(&gone, cudaStreamNonBlocking);
    cudaStreamDestroy(gone);
    copy_in(gone);
}

static void destroyed_event(void)
{
    cudaEvent_t gone;

    cudaEventCreateWithFlags(&gone, cudaEventDisableTiming);
    cudaEventDestroy(gone);
    cudaEventRecord(gone, my.stream);
}

static void leaked_memory(void)
{
    void *kept;

    cudaMalloc(&kept, 4096);
}

static void leaked_stream(void)
{
    cudaStream_t kept;

    cudaStreamCreateWithFlags(&kept, cudaStreamNonBlocking);
}

static void leaked_event(void)
{
    cudaEvent_t kept;

    cudaEventCreateWithFlags(&kept, cudaEventDisableTiming);
}

static void leaked_communicator(void)
{
    pause_ms(100);
    exit(0);
}

static void destroyed_unfinalized(void)
{
    ncclCommDestroy(my.comm);
    exit(0);
}

/* ---- a fault that was armed from outside: the program is right and must get through ---- */

/* Every rank whose collective does not end aborts; nobody waits for ever. */
static void survives(void)
{
    ncclResult_t state = ncclSuccess;
    cudaError_t e = cudaErrorNotReady;

    copy_in(my.stream);
    if (reduce(my.stream) != ncclSuccess)
        state = ncclUnhandledCudaError;
    for (int i = 0; i < 500 && e == cudaErrorNotReady && state == ncclSuccess; i++) {
        e = cudaStreamQuery(my.stream);
        ncclCommGetAsyncError(my.comm, &state);
        pause_ms(2);
    }
    printf("rank %d: query %d, state %d, %s\n", my.rank, (int)e, (int)state,
           ncclGetLastError(my.comm));
    fflush(stdout);
    give_up();
}

#define PROGRAMS(X)              \
    X(right)                     \
    X(right_on_two_streams)      \
    X(host_pointer)              \
    X(pageable_copy)             \
    X(device_as_host)            \
    X(freed)                     \
    X(overrun)                   \
    X(touched_by_host)           \
    X(no_wait_before_collective) \
    X(no_wait_before_copy_out)   \
    X(read_too_early)            \
    X(source_reused)             \
    X(default_stream)            \
    X(group_left_open)           \
    X(end_without_start)         \
    X(synchronised_in_group)     \
    X(counts_differ)             \
    X(types_differ)              \
    X(roots_differ)              \
    X(order_differs)             \
    X(two_threads)               \
    X(destroyed_stream)          \
    X(destroyed_event)           \
    X(leaked_memory)             \
    X(leaked_stream)             \
    X(leaked_event)              \
    X(leaked_communicator)       \
    X(destroyed_unfinalized)     \
    X(survives)

static const struct {
    const char *name;
    void (*run)(void);
} programs[] = {
#define X(name) {#name, name},
    PROGRAMS(X)
#undef X
};

static int run_rank(void (*run)(void), const ncclUniqueId *id)
{
    int devices = 0;

    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices < RANKS)
        return 77;
    start(id);
    run();
    stop();
    return 0;
}

/* The worst of the ranks' exit statuses; a signal counts as 128 and its number. */
static int run_ranks(void (*run)(void))
{
    ncclUniqueId id;
    int worst = 0, status;

    need(ncclGetUniqueId(&id) == ncclSuccess, "ncclGetUniqueId");
    fflush(NULL);
    for (my.rank = 0; my.rank < RANKS; my.rank++) {
        if (fork() == 0)
            exit(run_rank(run, &id));
    }
    while (wait(&status) > 0) {
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

        worst = code > worst ? code : worst;
    }
    return worst;
}

int main(int argc, char *argv[])
{
    for (size_t i = 0; argc == 2 && i < sizeof programs / sizeof programs[0]; i++) {
        if (strcmp(programs[i].name, argv[1]) == 0)
            return run_ranks(programs[i].run);
    }
    fprintf(stderr, "usage: planted NAME\n");
    return 2;
}
