/* device.c - a GPU from open to close: its streams, the stages that batches go through, the pinned
 * arena. A device that failed is not used again: the worker reports, exits, and is started anew. */
#include "worker/nccl/resident.h"
#include "worker/nccl/nccl_parts.h"
#include "schema/log.h"

#include <linux/capability.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_BYTES 4096

static bool broken;

void nccl_break(void)
{
    broken = true;
}

bool nccl_broken(void)
{
    return broken;
}

int nccl_cuda_failed(struct err *e, const char *call, rtError_t rc)
{
    broken = true;
    return err_set(e, ERR_worker_failed, "%s: CUDA error %d, %s", call, (int)rc,
                   rtGetErrorString(rc));
}

/* ---- pinned memory beside the arena ---- */

static rtError_t pin(uint8_t **out)
{
    uint8_t *p = aligned_alloc(PAGE_BYTES, SLOT_BYTES);
    rtError_t rc = p ? rtHostRegister(p, SLOT_BYTES) : rtErrorMemoryAllocation;

    if (rc == rtSuccess)
        *out = p;
    else
        free(p);
    return rc;
}

static void unpin(uint8_t *p)
{
    if (p)
        rtHostUnregister(p);
    free(p);
}

/* ---- stages ---- */

static void close_slot(struct slot *s)
{
    rtFree(s->in);
    rtFree(s->out);
    unpin(s->host_in);
    unpin(s->host_out);
    if (s->in_done)
        rtEventDestroy(s->in_done);
    if (s->run_done)
        rtEventDestroy(s->run_done);
    if (s->out_done)
        rtEventDestroy(s->out_done);
}

/* Whatever of it was opened; nothing is asked of a device that failed. */
static void close_stage(struct stage *s)
{
    for (int i = 0; i < SLOTS && !broken; i++)
        close_slot(&s->slot[i]);
    if (s->in && !broken)
        rtStreamDestroy(s->in);
    if (s->out && !broken)
        rtStreamDestroy(s->out);
    free(s);
}

static rtError_t open_slot(struct slot *s, bool arena_is_pinned)
{
    rtError_t rc = rtMalloc((void **)&s->in, SLOT_BYTES);

    if (rc == rtSuccess)
        rc = rtMalloc((void **)&s->out, SLOT_BYTES);
    if (rc == rtSuccess && !arena_is_pinned)
        rc = pin(&s->host_in);
    if (rc == rtSuccess && !arena_is_pinned)
        rc = pin(&s->host_out);
    if (rc == rtSuccess)
        rc = rtEventCreate(&s->in_done, rtDisableTiming);
    if (rc == rtSuccess)
        rc = rtEventCreate(&s->run_done, rtDisableTiming);
    if (rc == rtSuccess)
        rc = rtEventCreate(&s->out_done, rtDisableTiming);
    return rc;
}

static int open_stage(struct device *d, struct err *e)
{
    struct stage *s = calloc(1, sizeof *s);
    rtError_t rc;

    if (!s)
        return err_set(e, ERR_no_memory, "a stage");
    rc = rtStreamCreate(&s->in, rtNonBlocking);
    if (rc == rtSuccess)
        rc = rtStreamCreate(&s->out, rtNonBlocking);
    for (int i = 0; i < SLOTS && rc == rtSuccess; i++)
        rc = open_slot(&s->slot[i], d->registered);
    if (rc != rtSuccess) {
        err_set(e, ERR_worker_failed, "%s: %s (%llu MiB of its memory are needed)", d->at.device,
                rtGetErrorString(rc), (unsigned long long)(2 * SLOTS * SLOT_BYTES >> 20));
        close_stage(s);
        return -1;
    }
    s->next = d->stages;
    d->stages = s;
    return 0;
}

struct stage *nccl_take_stage(struct device *d, struct err *e)
{
    struct stage *s = d->stages;

    while (s && s->taken)
        s = s->next;
    if (!s && open_stage(d, e) != 0)
        return NULL;
    s = s ? s : d->stages;
    s->taken = true;
    return s;
}

int nccl_stream(struct device *d, uint32_t number, rtStream_t *out, struct err *e)
{
    rtError_t rc = d->run[number] ? rtSuccess : rtStreamCreate(&d->run[number], rtNonBlocking);

    if (rc != rtSuccess)
        return nccl_cuda_failed(e, "a stream", rc);
    *out = d->run[number];
    return 0;
}

/* ---- open, close ---- */

void nccl_close(struct device *d)
{
    resident_close(d);
    while (d->stages) {
        struct stage *s = d->stages;

        d->stages = s->next;
        close_stage(s);
    }
    for (int i = 0; i <= LIMIT_STREAM && !broken; i++) {
        if (d->run[i])
            rtStreamDestroy(d->run[i]);
    }
    if (d->aside && !broken)
        rtStreamDestroy(d->aside);
    if (d->registered && !broken)
        rtHostUnregister(d->at.arena);
    if (!broken)
        unpin(d->aside_host);
    free(d);
}

/* A limit on locked memory (ulimit -l, a container's memlock) may forbid so much: then it is done
 * with less, and slower. */
static rtError_t pin_arena(struct device *d)
{
    rtError_t rc = rtHostRegister(d->at.arena, d->at.arena_bytes);

    d->registered = rc == rtSuccess;
    if (d->registered)
        return rc;
    log_warn(
        "%s: the arena of %llu MiB cannot be pinned (%s): tensors go through %llu MiB that are, "
        "which is slower; see ulimit -l",
        d->at.device, (unsigned long long)(d->at.arena_bytes >> 20), rtGetErrorString(rc),
        (unsigned long long)((2 * SLOTS + 1) * SLOT_BYTES >> 20));
    rtGetLastError(); /* NCCL would take it for its own */
    return pin(&d->aside_host);
}

static int open_device(struct device *d, struct err *e)
{
    rtError_t rc;

    if (nccl_find_number(d->at.device, &d->number, e) != 0)
        return -1;
    rc = rtSetDevice(d->number);
    if (rc == rtSuccess)
        rc = rtStreamCreate(&d->aside, rtNonBlocking);
    if (rc == rtSuccess)
        rc = pin_arena(d);
    if (rc != rtSuccess)
        return err_set(e, ERR_worker_failed, "%s: %s", d->at.device, rtGetErrorString(rc));
    return open_stage(d, e);
}

/* Does the limit on locked memory bind this process? Not with CAP_IPC_LOCK. */
static bool is_limited(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2] = {0};

    return syscall(SYS_capget, &head, caps) != 0 || !(caps[0].effective >> CAP_IPC_LOCK & 1);
}

/* Drivers differ in whether they count what they pin: so a warning, and then it is tried. */
static void warn_if_little_can_be_locked(const struct device *d)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < d->at.arena_bytes &&
        is_limited())
        log_warn("only %llu bytes may be locked, and GPUs want the arena of %llu bytes pinned: add "
                 "`ulimits: memlock: -1` to the compose service, or run ulimit -l unlimited",
                 (unsigned long long)limit.rlim_cur, (unsigned long long)d->at.arena_bytes);
}

int nccl_open(struct device **out, const struct place *at, struct err *e)
{
    struct device *d = calloc(1, sizeof *d);

    if (!d)
        return err_set(e, ERR_no_memory, "device");
    /* Every unique id is a port that asks nobody who they are. Ranks of one machine find each other
     * on the loopback, unless somebody said otherwise. Source: NCCL's bootstrap.cc. */
    if (at->one_machine)
        setenv("NCCL_SOCKET_IFNAME", "lo", 0);
    /* Naps between polls take microseconds; the kernel's own slack is 50 of them. */
    prctl(PR_SET_TIMERSLACK, 1ul);
    d->at = *at;
    warn_if_little_can_be_locked(d);
    if (open_device(d, e) != 0) {
        nccl_close(d);
        return -1;
    }
    *out = d;
    return 0;
}
