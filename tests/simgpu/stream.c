/* stream.c - streams: a thread and a queue each; events; the order of kernels on the device. */
#include "tests/simgpu/simgpu.h"

#include <pthread.h>
#include <stdlib.h>

struct CUstream_st {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct simgpu_work *first, *last;
    uint64_t pushed, done; /* pieces of work */
    bool stopping, gone;
    int id;
    struct simgpu_clock clock; /* of what was pushed */
    unsigned int random;
    struct CUstream_st *next;
};

struct CUevent_st {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t recorded, reached; /* records made, records that the stream came to */
    bool gone;
    struct simgpu_clock clock; /* of the last record */
    struct CUevent_st *next;
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct CUstream_st *streams; /* never freed, so that a use after destroying is seen */
static struct CUevent_st *events;

/* ---- kernels ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t given, next;
} kernels = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

uint64_t simgpu_kernel_ticket(void)
{
    return __atomic_fetch_add(&kernels.given, 1, __ATOMIC_RELAXED);
}

/* An aborted kernel still takes its turn, at once: those before it are aborted, or end. */
void simgpu_kernel_wait(uint64_t ticket)
{
    pthread_mutex_lock(&kernels.lock);
    while (kernels.next != ticket && simgpu_env("SIMGPU_KERNELS", 1) == 1)
        pthread_cond_wait(&kernels.changed, &kernels.lock);
    pthread_mutex_unlock(&kernels.lock);
}

void simgpu_kernel_done(uint64_t ticket)
{
    pthread_mutex_lock(&kernels.lock);
    kernels.next = ticket + 1;
    pthread_cond_broadcast(&kernels.changed);
    pthread_mutex_unlock(&kernels.lock);
}

/* ---- streams ---- */

static void lag(struct CUstream_st *s)
{
    uint64_t us = simgpu_env("SIMGPU_LAG_US", 0);

    if (us && getenv("SIMGPU_SEED"))
        us = (uint64_t)rand_r(&s->random) % us;
    if (us)
        simgpu_sleep_us(us);
}

static void *stream_main(void *arg)
{
    struct CUstream_st *s = arg;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        struct simgpu_work *w;

        while (!s->first && !s->stopping)
            pthread_cond_wait(&s->changed, &s->lock);
        if (!s->first)
            break;
        w = s->first;
        s->first = w->next;
        if (!s->first)
            s->last = NULL;
        pthread_mutex_unlock(&s->lock);
        lag(s);
        w->run(w);
        free(w);
        pthread_mutex_lock(&s->lock);
        s->done++;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct CUstream_st *simgpu_stream(const char *call, cudaStream_t s)
{
    struct CUstream_st *at;

    pthread_mutex_lock(&all_lock);
    at = streams;
    while (at && at != s)
        at = at->next;
    pthread_mutex_unlock(&all_lock);
    if (!s)
        simgpu_misuse(call, "the legacy default stream synchronises with every other one");
    else if (!at)
        simgpu_misuse(call, "%p is no stream", (void *)s);
    else if (at->gone)
        simgpu_misuse(call, "stream %d was destroyed", at->id);
    else
        return at;
    return NULL;
}

struct simgpu_clock *simgpu_stream_clock(struct CUstream_st *s)
{
    return &s->clock;
}

int simgpu_stream_id(const struct CUstream_st *s)
{
    return s->id;
}

void simgpu_stream_push(struct CUstream_st *s, struct simgpu_work *w)
{
    w->next = NULL;
    pthread_mutex_lock(&s->lock);
    if (s->last)
        s->last->next = w;
    else
        s->first = w;
    s->last = w;
    s->pushed++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void wait_empty(struct CUstream_st *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->done < s->pushed)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void simgpu_drain(void)
{
    for (struct CUstream_st *s = streams; s; s = s->next) {
        if (!s->gone)
            wait_empty(s);
    }
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned int flags)
{
    struct CUstream_st *s;

    if (simgpu_device_error() != cudaSuccess)
        return simgpu_device_error();
    if (flags != cudaStreamNonBlocking)
        simgpu_misuse("cudaStreamCreateWithFlags",
                      "a blocking stream waits for the default stream");
    s = calloc(1, sizeof *s);
    if (!s)
        return cudaErrorMemoryAllocation;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->id = simgpu_clock_new();
    s->random = (unsigned int)simgpu_env("SIMGPU_SEED", 1) * 7919u + (unsigned int)s->id;
    if (pthread_create(&s->thread, NULL, stream_main, s) != 0) {
        free(s);
        return cudaErrorMemoryAllocation;
    }
    pthread_mutex_lock(&all_lock);
    s->next = streams;
    streams = s;
    pthread_mutex_unlock(&all_lock);
    *out = s;
    return cudaSuccess;
}

/* As on a GPU: what was pushed still runs, and the handle is invalid at once. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    struct CUstream_st *s = simgpu_stream("cudaStreamDestroy", stream);

    if (!s)
        return cudaErrorInvalidResourceHandle;
    wait_empty(s);
    pthread_mutex_lock(&s->lock);
    s->gone = s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    struct CUstream_st *s = simgpu_stream("cudaStreamSynchronize", stream);

    if (simgpu_group_depth && simgpu_group_depth() > 0)
        simgpu_misuse("cudaStreamSynchronize",
                      "inside ncclGroupStart: nothing was launched, it hangs");
    if (simgpu_device_error() != cudaSuccess)
        return simgpu_device_error();
    if (!s)
        return cudaErrorInvalidResourceHandle;
    wait_empty(s);
    simgpu_clock_join(simgpu_host_clock(), &s->clock);
    return simgpu_device_error();
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    struct CUstream_st *s = simgpu_stream("cudaStreamQuery", stream);
    bool busy;

    if (simgpu_device_error() != cudaSuccess)
        return simgpu_device_error();
    if (!s)
        return cudaErrorInvalidResourceHandle;
    pthread_mutex_lock(&s->lock);
    busy = s->done < s->pushed;
    pthread_mutex_unlock(&s->lock);
    if (busy)
        return cudaErrorNotReady;
    simgpu_clock_join(simgpu_host_clock(), &s->clock);
    return cudaSuccess;
}

/* ---- events ---- */

static struct CUevent_st *find_event(const char *call, cudaEvent_t e)
{
    struct CUevent_st *at;

    pthread_mutex_lock(&all_lock);
    at = events;
    while (at && at != e)
        at = at->next;
    pthread_mutex_unlock(&all_lock);
    if (!at)
        simgpu_misuse(call, "%p is no event", (void *)e);
    else if (at->gone)
        simgpu_misuse(call, "event %p was destroyed", (void *)e);
    else
        return at;
    return NULL;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int flags)
{
    struct CUevent_st *e;

    if (simgpu_device_error() != cudaSuccess)
        return simgpu_device_error();
    if (!(flags & cudaEventDisableTiming))
        simgpu_misuse("cudaEventCreateWithFlags", "an event with timing makes streams wait for it");
    e = calloc(1, sizeof *e);
    if (!e)
        return cudaErrorMemoryAllocation;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    pthread_mutex_lock(&all_lock);
    e->next = events;
    events = e;
    pthread_mutex_unlock(&all_lock);
    *out = e;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    struct CUevent_st *e = find_event("cudaEventDestroy", event);

    if (!e)
        return cudaErrorInvalidResourceHandle;
    e->gone = true;
    return cudaSuccess;
}

struct event_work {
    struct simgpu_work work;
    struct CUevent_st *event;
    uint64_t record;
};

static void reach(struct simgpu_work *w)
{
    struct event_work *at = (struct event_work *)w;

    pthread_mutex_lock(&at->event->lock);
    if (at->event->reached < at->record)
        at->event->reached = at->record;
    pthread_cond_broadcast(&at->event->changed);
    pthread_mutex_unlock(&at->event->lock);
}

static void wait_record(struct CUevent_st *e, uint64_t record)
{
    pthread_mutex_lock(&e->lock);
    while (e->reached < record)
        pthread_cond_wait(&e->changed, &e->lock);
    pthread_mutex_unlock(&e->lock);
}

static void stream_waits(struct simgpu_work *w)
{
    struct event_work *at = (struct event_work *)w;

    wait_record(at->event, at->record);
}

static cudaError_t push_event(struct CUstream_st *s, struct CUevent_st *e,
                              void (*run)(struct simgpu_work *))
{
    struct event_work *w = calloc(1, sizeof *w);

    if (!w)
        return cudaErrorMemoryAllocation;
    w->work.run = run;
    w->event = e;
    w->record = e->recorded;
    simgpu_stream_push(s, &w->work);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    struct CUevent_st *e = find_event("cudaEventRecord", event);
    struct CUstream_st *s = simgpu_stream("cudaEventRecord", stream);

    if (simgpu_device_error() != cudaSuccess)
        return simgpu_device_error();
    if (!e || !s)
        return cudaErrorInvalidResourceHandle;
    simgpu_order_begin(&s->clock, s->id);
    e->clock = s->clock;
    e->recorded++;
    return push_event(s, e, reach);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    struct CUevent_st *e = find_event("cudaStreamWaitEvent", event);
    struct CUstream_st *s = simgpu_stream("cudaStreamWaitEvent", stream);

    (void)flags;
    if (simgpu_device_error() != cudaSuccess)
        return simgpu_device_error();
    if (!e || !s)
        return cudaErrorInvalidResourceHandle;
    if (e->recorded == 0)
        return cudaSuccess; /* as CUDA has it: nothing to wait for */
    simgpu_clock_join(&s->clock, &e->clock);
    return push_event(s, e, stream_waits);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    struct CUevent_st *e = find_event("cudaEventQuery", event);
    bool busy;

    if (simgpu_device_error() != cudaSuccess)
        return simgpu_device_error();
    if (!e)
        return cudaErrorInvalidResourceHandle;
    pthread_mutex_lock(&e->lock);
    busy = e->reached < e->recorded;
    pthread_mutex_unlock(&e->lock);
    if (busy)
        return cudaErrorNotReady;
    simgpu_clock_join(simgpu_host_clock(), &e->clock);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    struct CUevent_st *e = find_event("cudaEventSynchronize", event);

    if (simgpu_group_depth && simgpu_group_depth() > 0)
        simgpu_misuse("cudaEventSynchronize",
                      "inside ncclGroupStart: nothing was launched, it hangs");
    if (simgpu_device_error() != cudaSuccess)
        return simgpu_device_error();
    if (!e)
        return cudaErrorInvalidResourceHandle;
    wait_record(e, e->recorded);
    simgpu_clock_join(simgpu_host_clock(), &e->clock);
    return simgpu_device_error();
}

/* ---- the end ---- */

void simgpu_report_streams(void)
{
    uint32_t left = 0, left_events = 0;

    for (struct CUstream_st *s = streams; s; s = s->next)
        left += !s->gone;
    for (struct CUevent_st *e = events; e; e = e->next)
        left_events += !e->gone;
    if (left > 0)
        simgpu_misuse("exit", "%u streams were never destroyed", left);
    if (left_events > 0)
        simgpu_misuse("exit", "%u events were never destroyed", left_events);
}
