/* simgpu.h - what the files of the simulated GPU share: memory, order, streams, reports, faults.
 *
 * Two libraries are made of them: libcudart.so.13 (cudart*.c, memory.c, order.c, stream.c,
 * report.c) and libnccl.so.2 (nccl*.c), which uses the first through the simgpu_ functions below. A
 * process is one GPU: the one that cudaSetDevice named. Every function is safe from any thread.
 *
 * Environment:
 *   SIMGPU_DEVICES  how many GPUs the machine has (default 0)
 *   SIMGPU_MEM      bytes of memory of each (default 4 GiB)
 *   SIMGPU_PIN      most bytes that may be pinned in one piece (default: any)
 *   SIMGPU_LAG_US   every piece of stream work begins so much later (default 0)
 *   SIMGPU_SEED     lags are drawn at random up to SIMGPU_LAG_US, from this seed
 *   SIMGPU_FAULT    a file; its line "DEVICE KIND [ARG]" is a fault that the named device takes,
 * once, by removing the file: see simgpu_fault SIMGPU_REPORT   a directory; each process leaves
 * PID.json there at its end, and complaints go to the file `complaints` as well as to stderr
 *   SIMGPU_KERNELS  more than 1: kernels of different streams fit on a GPU side by side (default:
 * each fills it) SIMGPU_IN_PROGRESS  non-blocking NCCL calls answer ncclInProgress so many times
 * first
 */
#ifndef TUTTI_TESTS_SIMGPU_SIMGPU_H
#define TUTTI_TESTS_SIMGPU_SIMGPU_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIMGPU_MISUSE_EXIT 86

/* ---- report.c ---- */

/* A mistake of the caller: printed, counted, and the process exits SIMGPU_MISUSE_EXIT at its end.
 */
void simgpu_misuse(const char *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Something worth reading that is no proof of a mistake. */
void simgpu_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Takes the armed fault of this kind, if it is meant for this device: true once.
 *   async ERROR   the next collective ends in an asynchronous error
 *   hang          the next collective never ends on this device
 *   slow US       the next collective takes so much longer
 *   die           the process is killed in the middle of the next collective
 *   oom           the next collective finds no device memory
 *   lost          the device falls off the bus: every CUDA call fails from now on
 *   init_fail, init_slow US, init_die   the next communicator
 *   alloc         the next cudaMalloc finds no memory */
bool simgpu_fault(const char *kind, uint64_t *arg);

enum simgpu_engine {
    SIMGPU_COPY_IN,
    SIMGPU_COPY_OUT,
    SIMGPU_COPY_DEVICE,
    SIMGPU_NCCL,
    SIMGPU_ENGINES
};

/* Counted for the JSON at the end: work of so many bytes, between two moments of the virtual clock.
 */
void simgpu_count_work(enum simgpu_engine engine, uint64_t bytes, uint64_t from_ns, uint64_t to_ns);
void simgpu_count_launch(uint32_t collectives);
void simgpu_count_communicator(int change); /* live ones are leaks at the end */

/* This process is of no use any more: what it holds at its end is no leak. */
void simgpu_must_end(void);

uint64_t simgpu_env(const char *name, uint64_t fallback);
void simgpu_sleep_us(uint64_t us);

/* ---- memory.c ---- */

/* The bytes behind a device pointer, or NULL after a complaint: host memory, freed, overrun. */
uint8_t *simgpu_device_bytes(const char *call, const void *p, uint64_t n);
/* n bytes of pinned or registered host memory at p? Complains if not. */
bool simgpu_host_pinned(const char *call, const void *p, uint64_t n);

cudaError_t simgpu_malloc(void **out, uint64_t n);
cudaError_t simgpu_free(void *p);
cudaError_t simgpu_register(void *p, uint64_t n);
cudaError_t simgpu_unregister(void *p);
void simgpu_memory_info(size_t *free_bytes, size_t *total);
void simgpu_report_memory(void); /* complains of what was never freed */

/* ---- order.c: what happens before what, decided when a call is made and not when it runs ---- */

#define SIMGPU_CLOCKS 128

/* A vector clock, and the moment of the virtual clock that goes with it. */
struct simgpu_clock {
    uint32_t at[SIMGPU_CLOCKS];
    uint64_t now_ns;
};

int simgpu_clock_new(void); /* for a stream; complains when there is none left */
void simgpu_clock_join(struct simgpu_clock *into, const struct simgpu_clock *from);
struct simgpu_clock *simgpu_host_clock(void); /* this thread's */
/* A piece of work on a stream: ordered after what the thread knows. */
void simgpu_order_begin(struct simgpu_clock *stream, int id);
/* It touches these bytes: complains when another access, one of the two a write, is not ordered
 * before. */
void simgpu_order_access(const char *call, struct simgpu_clock *stream, int id, const void *p,
                         uint64_t n, bool write);
/* It keeps an engine busy for so many bytes. */
void simgpu_order_work(struct simgpu_clock *stream, enum simgpu_engine engine, uint64_t bytes);
/* The memory has gone: what was done there is no matter any more. */
void simgpu_order_forget(const void *p, uint64_t n);

/* ---- stream.c ---- */

struct simgpu_work {
    void (*run)(struct simgpu_work *w); /* on the stream's thread; then w is freed */
    struct simgpu_work *next;
};

/* NULL after a complaint: no such stream, or destroyed. */
struct CUstream_st *simgpu_stream(const char *call, cudaStream_t s);
struct simgpu_clock *simgpu_stream_clock(struct CUstream_st *s);
int simgpu_stream_id(const struct CUstream_st *s);
void simgpu_stream_push(struct CUstream_st *s, struct simgpu_work *w); /* takes w (malloc'd) */
void simgpu_drain(void); /* until every stream is empty */
void simgpu_report_streams(void);

/* Kernels that fill the GPU run one after the other, in the order of their launches. */
uint64_t simgpu_kernel_ticket(void);
void simgpu_kernel_wait(uint64_t ticket);
void simgpu_kernel_done(uint64_t ticket);

/* ---- cudart.c ---- */

/* The error that every call gives from now on; a stuck device. cudaSuccess: none. */
cudaError_t simgpu_device_error(void);
int simgpu_device_number(void);
/* Set by NCCL: how deep in ncclGroupStart this thread is. A synchronise in there never returns. */
extern int (*simgpu_group_depth)(void);
/* Set by NCCL: complains of what was left of it. */
extern void (*simgpu_report_nccl)(void);

#endif
