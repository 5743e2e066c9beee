/* memory.c - device memory as addresses that host code cannot touch, and what of the host is
 * pinned.
 *
 * A device pointer lies in a reservation without access, a guard page behind it; its bytes are in a
 * mapping elsewhere. Freed ranges stay reserved for ever, so that a use after free is always seen.
 */
#include "tests/simgpu/simgpu.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANGES_MAX 16384
#define PAGE 4096u
#define FRESH 0xA5 /* what memory holds before it is written */

struct range {
    uint8_t *base, *bytes; /* bytes: where a device range really is */
    uint64_t size;
    bool device, gone;
};

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static struct range ranges[RANGES_MAX];
static uint32_t n_ranges;
static uint64_t used_bytes;

static uint64_t memory_bytes(void)
{
    return simgpu_env("SIMGPU_MEM", 4ull << 30);
}

/* The newest range that p lies in, or right behind. */
static struct range *find(const void *p)
{
    for (uint32_t i = n_ranges; i-- > 0;) {
        struct range *r = &ranges[i];

        if ((const uint8_t *)p >= r->base && (const uint8_t *)p < r->base + (r->size ? r->size : 1))
            return r;
    }
    return NULL;
}

static struct range *add(void *base, uint64_t size)
{
    struct range *r;

    if (n_ranges == RANGES_MAX) {
        fprintf(stderr, "simgpu: more than %d ranges\n", RANGES_MAX);
        abort();
    }
    r = &ranges[n_ranges++];
    *r = (struct range){.base = base, .size = size};
    return r;
}

/* A copy of the range that p lies in; false: none. */
static bool look_up(const void *p, struct range *out)
{
    struct range *r;

    pthread_mutex_lock(&memory_lock);
    r = find(p);
    if (r)
        *out = *r;
    pthread_mutex_unlock(&memory_lock);
    return r != NULL;
}

uint8_t *simgpu_device_bytes(const char *call, const void *p, uint64_t n)
{
    struct range at;
    bool known = look_up(p, &at);

    if (!known)
        simgpu_misuse(call, "%p is no device pointer", p);
    else if (!at.device)
        simgpu_misuse(call, "%p is pinned host memory, a device pointer is required", p);
    else if (at.gone)
        simgpu_misuse(call, "%p was freed", p);
    else if (n > at.size - (uint64_t)((const uint8_t *)p - at.base))
        simgpu_misuse(call, "%llu bytes at offset %llu overrun an allocation of %llu",
                      (unsigned long long)n, (unsigned long long)((const uint8_t *)p - at.base),
                      (unsigned long long)at.size);
    else
        return at.bytes + ((const uint8_t *)p - at.base);
    return NULL;
}

bool simgpu_host_pinned(const char *call, const void *p, uint64_t n)
{
    struct range at;
    bool known = look_up(p, &at);

    if (known && at.device)
        simgpu_misuse(call, "%p is device memory, host memory is required", p);
    else if (!known || at.gone)
        simgpu_misuse(call, "host memory %p is not pinned: the copy would not be asynchronous", p);
    else if (n > at.size - (uint64_t)((const uint8_t *)p - at.base))
        simgpu_misuse(call, "%llu bytes at %p leave the pinned range", (unsigned long long)n, p);
    else
        return true;
    return false;
}

cudaError_t simgpu_malloc(void **out, uint64_t n)
{
    uint64_t span = (n + PAGE - 1) / PAGE * PAGE + PAGE;
    void *base, *bytes;

    pthread_mutex_lock(&memory_lock);
    if (n > memory_bytes() - used_bytes || simgpu_fault("alloc", NULL)) {
        pthread_mutex_unlock(&memory_lock);
        return cudaErrorMemoryAllocation;
    }
    base = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bytes = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || bytes == MAP_FAILED) {
        pthread_mutex_unlock(&memory_lock);
        return cudaErrorMemoryAllocation;
    }
    memset(bytes, FRESH, n);
    *add(base, n) = (struct range){.base = base, .bytes = bytes, .size = n, .device = true};
    used_bytes += n;
    pthread_mutex_unlock(&memory_lock);
    *out = base;
    return cudaSuccess;
}

cudaError_t simgpu_free(void *p)
{
    struct range *r;
    cudaError_t rc = cudaErrorInvalidValue;

    if (!p)
        return cudaSuccess;
    pthread_mutex_lock(&memory_lock);
    r = find(p);
    if (r && r->device && r->base == p && !r->gone) {
        munmap(r->bytes, (r->size + PAGE - 1) / PAGE * PAGE + PAGE);
        r->gone = true;
        used_bytes -= r->size;
        rc = cudaSuccess;
    }
    pthread_mutex_unlock(&memory_lock);
    if (rc != cudaSuccess)
        simgpu_misuse("cudaFree", "%p is no allocation, or was freed", p);
    else
        simgpu_order_forget(p, r->size);
    return rc;
}

cudaError_t simgpu_register(void *p, uint64_t n)
{
    cudaError_t rc = n > simgpu_env("SIMGPU_PIN", UINT64_MAX) ? cudaErrorMemoryAllocation
                                                              : cudaSuccess;

    pthread_mutex_lock(&memory_lock);
    for (uint32_t i = 0; i < n_ranges && rc == cudaSuccess; i++) {
        struct range *r = &ranges[i];

        if (!r->gone && (uint8_t *)p < r->base + r->size && (uint8_t *)p + n > r->base)
            rc = cudaErrorHostMemoryAlreadyRegistered;
    }
    if (rc == cudaSuccess)
        add(p, n);
    pthread_mutex_unlock(&memory_lock);
    return rc;
}

cudaError_t simgpu_unregister(void *p)
{
    struct range *r;
    cudaError_t rc = cudaErrorHostMemoryNotRegistered;

    pthread_mutex_lock(&memory_lock);
    r = find(p);
    if (r && !r->device && !r->gone && r->base == p) {
        r->gone = true;
        rc = cudaSuccess;
    }
    pthread_mutex_unlock(&memory_lock);
    return rc;
}

void simgpu_memory_info(size_t *free_bytes, size_t *total)
{
    pthread_mutex_lock(&memory_lock);
    *total = memory_bytes();
    *free_bytes = *total - used_bytes;
    pthread_mutex_unlock(&memory_lock);
}

void simgpu_report_memory(void)
{
    for (uint32_t i = 0; i < n_ranges; i++) {
        const struct range *r = &ranges[i];

        if (!r->gone)
            simgpu_misuse("exit", "%llu bytes of %s memory at %p were never %s",
                          (unsigned long long)r->size, r->device ? "device" : "pinned",
                          (void *)r->base, r->device ? "freed" : "unregistered");
    }
}

/* ---- host code that touches device memory ---- */

static struct sigaction before;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    struct range *r = find(info->si_addr); /* no lock: the process ends here */

    if (r && r->device) {
        simgpu_misuse("host code", "it touched device memory at %p", info->si_addr);
        _exit(SIMGPU_MISUSE_EXIT);
    }
    if (before.sa_flags & SA_SIGINFO && before.sa_sigaction)
        before.sa_sigaction(sig, info, context);
    else
        sigaction(SIGSEGV, &before,
                  NULL); /* the access is tried again, and ends as it would have */
}

__attribute__((constructor)) static void watch_faults(void)
{
    if (simgpu_env("SIMGPU_DEVICES", 0) > 0)
        sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO},
                  &before);
}
