/* nccl.c - communicators of the NCCL double: found through shared memory, joined, left, aborted. */
#include "tests/simgpu/sim_nccl.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define NAME_AT 16 /* of the unique id: before it lies what must not be taken for text */

static pthread_mutex_t comms_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ncclComm *comms; /* never freed: a use after destroying is seen */
static char last_text[512];

/* Marks the double, for whoever asks the loaded library. */
const int simgpu_marker = 1;

void sim_set_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(last_text, sizeof last_text, format, args);
    va_end(args);
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t r)
{
    static const char *const text[] = {"no error",
                                       "unhandled cuda error",
                                       "unhandled system error",
                                       "internal error",
                                       "invalid argument",
                                       "invalid usage",
                                       "remote process exited or there was a network error",
                                       "NCCL operation in progress"};

    return (unsigned)r < sizeof text / sizeof text[0] ? text[r] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return last_text;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    uint64_t random[2];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return ncclSystemError;
    memset(id, 0x7f, sizeof *id); /* full of bytes that are no text, as a real one */
    snprintf(id->internal + NAME_AT, 64, "/simgpu-%s-%016llx%016llx",
             getenv("SIMGPU_TAG") ? getenv("SIMGPU_TAG") : "x", (unsigned long long)random[0],
             (unsigned long long)random[1]);
    return ncclSuccess;
}

/* ---- use ---- */

static void report(void)
{
    if (sim_group_depth() != 0)
        simgpu_misuse("exit", "ncclGroupStart without ncclGroupEnd, depth %d", sim_group_depth());
}

__attribute__((constructor)) static void introduce(void)
{
    simgpu_group_depth = sim_group_depth;
    simgpu_report_nccl = report;
}

struct ncclComm *sim_comm(const char *call, ncclComm_t c)
{
    struct ncclComm *at;

    pthread_mutex_lock(&comms_lock);
    at = comms;
    while (at && at != c)
        at = at->next;
    pthread_mutex_unlock(&comms_lock);
    if (!at)
        simgpu_misuse(call, "%p is no communicator", (void *)c);
    else if (at->gone)
        simgpu_misuse(call, "the communicator was destroyed");
    else
        return at;
    sim_set_error("%s : comm argument is not valid", call);
    return NULL;
}

/* ---- init ---- */

static struct sim_shared *map_shared(struct ncclComm *c)
{
    uint64_t bytes = sizeof(struct sim_shared) + (uint64_t)c->n * c->n * sizeof(struct sim_mail);
    int fd = shm_open(c->name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *p = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return p == MAP_FAILED ? NULL : p;
}

static void unmap_shared(struct ncclComm *c)
{
    if (c->shared)
        munmap(c->shared,
               sizeof(struct sim_shared) + (uint64_t)c->n * c->n * sizeof(struct sim_mail));
    c->shared = NULL;
}

/* Everybody has to come. A peer that never does is waited for until the caller gives up. */
static ncclResult_t meet(struct ncclComm *c)
{
    struct sim_slot *mine = &c->shared->slot[c->rank];
    int nobody = 0;

    if (!atomic_compare_exchange_strong(&mine->pid, &nobody, (int)getpid())) {
        simgpu_misuse("ncclCommInitRankConfig", "rank %u has joined this unique id already",
                      c->rank);
        return ncclInvalidUsage;
    }
    atomic_fetch_add(&c->shared->joined, 1);
    while (atomic_load(&c->shared->joined) < c->n) {
        if (__atomic_load_n(&c->aborted, __ATOMIC_ACQUIRE)) {
            shm_unlink(c->name);
            return ncclSystemError;
        }
        simgpu_sleep_us(50);
    }
    if (c->rank == 0)
        shm_unlink(c->name);
    return ncclSuccess;
}

static void *init_main(void *arg)
{
    struct ncclComm *c = arg;
    uint64_t us;

    if (simgpu_fault("init_slow", &us))
        simgpu_sleep_us(us);
    if (simgpu_fault("init_die", NULL))
        kill(getpid(), SIGKILL);
    if (simgpu_fault("init_fail", NULL)) {
        sim_set_error("Bootstrap : no socket interface found");
        simgpu_must_end(); /* the real one may have lost count of its groups by now */
        shm_unlink(c->name);
        atomic_store(&c->state, ncclSystemError);
    } else {
        atomic_store(&c->state, meet(c));
    }
    return NULL;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int n, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    struct ncclComm *c;

    if (simgpu_device_error() != cudaSuccess) {
        sim_set_error("Cuda failure 'unspecified launch failure'");
        sim_group_leak();
        return ncclUnhandledCudaError;
    }
    if (n < 1 || n > SIM_RANKS || rank < 0 || rank >= n || simgpu_device_number() < 0) {
        simgpu_misuse("ncclCommInitRankConfig", "rank %d of %d, device %d", rank, n,
                      simgpu_device_number());
        return ncclInvalidArgument;
    }
    c = calloc(1, sizeof *c);
    if (!c)
        return ncclSystemError;
    c->n = (uint32_t)n;
    c->rank = (uint32_t)rank;
    c->blocking = !config || config->blocking != 0;
    snprintf(c->name, sizeof c->name, "%.63s", id.internal + NAME_AT);
    atomic_store(&c->state, ncclInProgress);
    c->shared = map_shared(c);
    if (!c->shared) {
        sim_set_error("shm_open %s: %s", c->name, strerror(errno));
        free(c);
        return ncclSystemError;
    }
    pthread_mutex_lock(&comms_lock);
    c->next = comms;
    comms = c;
    pthread_mutex_unlock(&comms_lock);
    simgpu_count_communicator(1);
    *out = c;
    c->init_running = pthread_create(&c->init_thread, NULL, init_main, c) == 0;
    if (!c->blocking)
        return ncclInProgress;
    pthread_join(c->init_thread, NULL);
    c->init_running = false;
    return (ncclResult_t)atomic_load(&c->state);
}

ncclResult_t ncclCommInitRank(ncclComm_t *out, int n, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(out, n, id, rank, NULL);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    struct ncclComm *c = sim_comm("ncclCommGetAsyncError", comm);

    if (!c)
        return ncclInvalidArgument;
    *state = (ncclResult_t)atomic_load(&c->state);
    if (*state == ncclSuccess && c->in_progress > 0) {
        *state = ncclInProgress;
        if (--c->in_progress == 0)
            sim_launch_held(c);
    }
    if (simgpu_device_error() != cudaSuccess) {
        sim_set_error("Cuda failure 'unspecified launch failure'");
        *state = ncclUnhandledCudaError;
    }
    return ncclSuccess;
}

/* ---- the end ---- */

static void join_init(struct ncclComm *c)
{
    if (c->init_running)
        pthread_join(c->init_thread, NULL);
    c->init_running = false;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    struct ncclComm *c = comm ? sim_comm("ncclCommFinalize", comm) : NULL;

    if (!c)
        return comm ? ncclInvalidArgument : ncclSuccess;
    if (atomic_load(&c->state) == ncclInProgress)
        simgpu_misuse("ncclCommFinalize", "the communicator is not ready yet");
    if (c->finalized)
        simgpu_misuse("ncclCommFinalize", "twice");
    c->finalized = true;
    return ncclSuccess;
}

static void leave(struct ncclComm *c)
{
    join_init(c);
    simgpu_drain();
    c->gone = true;
    unmap_shared(c);
    simgpu_count_communicator(-1);
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    struct ncclComm *c = comm ? sim_comm("ncclCommDestroy", comm) : NULL;

    if (!c)
        return comm ? ncclInvalidArgument : ncclSuccess;
    if (!c->finalized)
        simgpu_misuse("ncclCommDestroy", "without ncclCommFinalize");
    leave(c);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    struct ncclComm *c = comm ? sim_comm("ncclCommAbort", comm) : NULL;

    if (!c)
        return comm ? ncclInvalidArgument : ncclSuccess;
    __atomic_store_n(&c->aborted, true, __ATOMIC_RELEASE);
    c->in_progress = 0;
    sim_launch_held(c); /* it ends at once */
    leave(c);
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    *count = (int)comm->n;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    *rank = (int)comm->rank;
    return ncclSuccess;
}
