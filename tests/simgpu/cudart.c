/* cudart.c - the runtime calls: devices, memory, copies.
 *
 * Compiled against the real header, so that the compiler checks every prototype.
 */
#include "tests/simgpu/simgpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNREAD 0xDB /* in the destination of a copy until the copy runs */

static int device = -1;
static cudaError_t broken;
static __thread cudaError_t last_error;
int (*simgpu_group_depth)(void);
void (*simgpu_report_nccl)(void);

static int device_count(void)
{
    return (int)simgpu_env("SIMGPU_DEVICES", 0);
}

int simgpu_device_number(void)
{
    return device;
}

static cudaError_t say(cudaError_t e)
{
    if (e != cudaSuccess && e != cudaErrorNotReady)
        last_error = e;
    return e;
}

cudaError_t simgpu_device_error(void)
{
    if (device >= 0 && broken == cudaSuccess && simgpu_fault("lost", NULL))
        broken = cudaErrorLaunchFailure;
    return broken;
}

/* ---- devices ---- */

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/* As the real one: the count is left alone when there is none. */
cudaError_t cudaGetDeviceCount(int *count)
{
    if (device_count() == 0)
        return say(cudaErrorNoDevice);
    *count = device_count();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int number)
{
    if (number < 0 || number >= device_count())
        return say(cudaErrorInvalidDevice);
    if (device >= 0 && device != number)
        simgpu_misuse("cudaSetDevice", "this process has device %d; one process is one GPU here",
                      device);
    device = number;
    return say(simgpu_device_error());
}

cudaError_t cudaGetDevice(int *number)
{
    *number = device < 0 ? 0 : device;
    return say(simgpu_device_error());
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int number)
{
    size_t free_bytes;

    if (number < 0 || number >= device_count())
        return say(cudaErrorInvalidDevice);
    memset(prop, 0, sizeof *prop);
    snprintf(prop->name, sizeof prop->name, "Simulated GPU");
    for (int i = 0; i < 16; i++)
        prop->uuid.bytes[i] = (char)(i == 15 ? number : 0x10 + i);
    simgpu_memory_info(&free_bytes, &prop->totalGlobalMem);
    prop->major = 9;
    prop->multiProcessorCount = 1;
    prop->pciBusID = number + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int size, int number)
{
    if (number < 0 || number >= device_count())
        return say(cudaErrorInvalidDevice);
    snprintf(id, (size_t)size, "0000:%02x:00.0", number + 1);
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    case cudaErrorNotReady:
        return "device not ready";
    case cudaErrorInvalidResourceHandle:
        return "invalid resource handle";
    default:
        return "invalid argument";
    }
}

const char *cudaGetErrorName(cudaError_t e)
{
    return e == cudaSuccess ? "cudaSuccess" : "cudaError";
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last_error;

    last_error = cudaSuccess;
    return broken != cudaSuccess ? broken : e;
}

cudaError_t cudaPeekAtLastError(void)
{
    return broken != cudaSuccess ? broken : last_error;
}

/* ---- memory ---- */

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    simgpu_memory_info(free_bytes, total);
    return say(simgpu_device_error());
}

cudaError_t cudaMalloc(void **out, size_t n)
{
    cudaError_t e = simgpu_device_error();

    return say(e != cudaSuccess ? e : simgpu_malloc(out, n));
}

/* The real one waits for the device. */
cudaError_t cudaFree(void *p)
{
    if (simgpu_device_error() != cudaSuccess)
        return say(simgpu_device_error());
    simgpu_drain();
    return say(simgpu_free(p));
}

cudaError_t cudaMallocHost(void **out, size_t n)
{
    void *p = NULL;
    cudaError_t e = simgpu_device_error();

    if (e == cudaSuccess && posix_memalign(&p, 4096, n) != 0)
        e = cudaErrorMemoryAllocation;
    if (e == cudaSuccess)
        e = simgpu_register(p, n);
    if (e == cudaSuccess)
        *out = p;
    return say(e);
}

cudaError_t cudaFreeHost(void *p)
{
    cudaError_t e = simgpu_unregister(p);

    if (e == cudaSuccess)
        free(p);
    return say(e);
}

cudaError_t cudaHostRegister(void *p, size_t n, unsigned int flags)
{
    cudaError_t e = simgpu_device_error();

    (void)flags;
    return say(e != cudaSuccess ? e : simgpu_register(p, n));
}

cudaError_t cudaHostUnregister(void *p)
{
    if (simgpu_device_error() != cudaSuccess)
        return say(simgpu_device_error());
    simgpu_drain();
    return say(simgpu_unregister(p));
}

/* ---- copies ---- */

struct copy {
    struct simgpu_work work;
    const uint8_t *src; /* where the bytes really are */
    uint8_t *dst;
    uint64_t width, height, src_pitch, dst_pitch;
    enum cudaMemcpyKind kind;
    uint64_t source_sum; /* of a host source, at the call */
    struct copy *next_pending;
};

static uint64_t span(uint64_t width, uint64_t height, uint64_t pitch)
{
    return height == 0 || width == 0 ? 0 : (height - 1) * pitch + width;
}

static uint64_t checksum(const struct copy *c)
{
    uint64_t sum = 14695981039346656037u;

    for (uint64_t row = 0; row < c->height; row++) {
        const uint8_t *p = c->src + row * c->src_pitch;
        uint64_t i = 0, word;

        for (; i + 8 <= c->width; i += 8) {
            memcpy(&word, p + i, 8);
            sum = (sum ^ word) * 1099511628211u;
        }
        for (; i < c->width; i++)
            sum = (sum ^ p[i]) * 1099511628211u;
    }
    return sum;
}

/* Copies from the host that have not run: their sources must stay as they are. */
static pthread_mutex_t pending_lock = PTHREAD_MUTEX_INITIALIZER;
static struct copy *pending;

static void pend(struct copy *c)
{
    pthread_mutex_lock(&pending_lock);
    c->next_pending = pending;
    pending = c;
    pthread_mutex_unlock(&pending_lock);
}

static void unpend(struct copy *c)
{
    struct copy **at = &pending;

    pthread_mutex_lock(&pending_lock);
    while (*at != c)
        at = &(*at)->next_pending;
    *at = c->next_pending;
    pthread_mutex_unlock(&pending_lock);
}

/* Whoever reads the destination before the copy has run reads this, for certain. Not where a copy
 * still has to read: a buffer may go in and be overwritten on the way out, in order. */
static void spoil(const struct copy *c)
{
    const uint8_t *end = c->dst + span(c->width, c->height, c->dst_pitch);
    bool is_source = false;

    pthread_mutex_lock(&pending_lock);
    for (const struct copy *p = pending; p; p = p->next_pending)
        is_source |= p->src < end && c->dst < p->src + span(p->width, p->height, p->src_pitch);
    pthread_mutex_unlock(&pending_lock);
    for (uint64_t row = 0; !is_source && row < c->height; row++)
        memset(c->dst + row * c->dst_pitch, UNREAD, c->width);
}

static void run_copy(struct simgpu_work *w)
{
    struct copy *c = (struct copy *)w;

    if (c->kind == cudaMemcpyHostToDevice && checksum(c) != c->source_sum)
        simgpu_misuse("cudaMemcpyAsync", "the host source changed between the call and the copy");
    for (uint64_t row = 0; row < c->height; row++)
        memcpy(c->dst + row * c->dst_pitch, c->src + row * c->src_pitch, c->width);
    if (c->kind == cudaMemcpyHostToDevice)
        unpend(c);
}

static bool find_side(const char *call, bool on_device, const void *p, uint64_t n,
                      const uint8_t **out)
{
    *out = p;
    if (on_device)
        return (*out = simgpu_device_bytes(call, p, n)) != NULL;
    return simgpu_host_pinned(call, p, n);
}

/* Every row is an access of its own when rows are far apart; close ones are taken as one range. */
static void touch(const char *call, struct CUstream_st *s, const void *p, const struct copy *c,
                  uint64_t pitch, bool write)
{
    uint64_t rows = c->height > 256 || pitch == c->width ? 1 : c->height;

    for (uint64_t row = 0; row < rows; row++)
        simgpu_order_access(call, simgpu_stream_clock(s), simgpu_stream_id(s),
                            (const uint8_t *)p + row * pitch,
                            rows == 1 ? span(c->width, c->height, pitch) : c->width, write);
}

static const enum simgpu_engine engine_of[] = {
    [cudaMemcpyHostToDevice] = SIMGPU_COPY_IN,
    [cudaMemcpyDeviceToHost] = SIMGPU_COPY_OUT,
    [cudaMemcpyDeviceToDevice] = SIMGPU_COPY_DEVICE,
};

static cudaError_t copy(const char *call, void *dst, const void *src, struct copy *c,
                        cudaStream_t stream)
{
    struct CUstream_st *s = simgpu_stream(call, stream);
    uint64_t reads = span(c->width, c->height, c->src_pitch);
    uint64_t writes = span(c->width, c->height, c->dst_pitch);
    const uint8_t *to;

    if (simgpu_device_error() != cudaSuccess || !s || c->src_pitch < c->width ||
        c->dst_pitch < c->width || c->kind < cudaMemcpyHostToDevice ||
        c->kind > cudaMemcpyDeviceToDevice) {
        free(c);
        return say(simgpu_device_error() != cudaSuccess ? simgpu_device_error()
                                                        : cudaErrorInvalidValue);
    }
    if (!find_side(call, c->kind != cudaMemcpyHostToDevice, src, reads, &c->src) ||
        !find_side(call, c->kind != cudaMemcpyDeviceToHost, dst, writes, &to)) {
        free(c);
        return say(cudaErrorInvalidValue);
    }
    c->dst = (uint8_t *)dst + (to - (const uint8_t *)dst);
    simgpu_order_begin(simgpu_stream_clock(s), simgpu_stream_id(s));
    touch(call, s, src, c, c->src_pitch, false);
    touch(call, s, dst, c, c->dst_pitch, true);
    simgpu_order_work(simgpu_stream_clock(s), engine_of[c->kind], c->width * c->height);
    if (c->kind == cudaMemcpyHostToDevice) {
        c->source_sum = checksum(c);
        pend(c);
    } else if (c->kind == cudaMemcpyDeviceToHost) {
        spoil(c);
    }
    c->work.run = run_copy;
    simgpu_stream_push(s, &c->work);
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream)
{
    struct copy *c = calloc(1, sizeof *c);

    if (!c)
        return cudaErrorMemoryAllocation;
    c->width = width;
    c->height = height;
    c->src_pitch = src_pitch;
    c->dst_pitch = dst_pitch;
    c->kind = kind;
    return copy("cudaMemcpy2DAsync", dst, src, c, stream);
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    struct copy *c = calloc(1, sizeof *c);

    if (!c)
        return cudaErrorMemoryAllocation;
    c->width = c->src_pitch = c->dst_pitch = n;
    c->height = 1;
    c->kind = kind;
    return copy("cudaMemcpyAsync", dst, src, c, stream);
}
