/* order.c - vector clocks: which accesses are ordered, decided at the call and not by luck.
 *
 * Every stream and every host thread has a place in the clocks. Work on a stream is ordered after
 * what the calling thread knew; a thread knows what it synchronised with; a stream what it was told
 * to wait for. Two accesses to the same bytes, one a write, that no such chain orders are a race on
 * a GPU, whether or not it shows. Prior art: PyTorch's CUDA Sanitizer, CuSan.
 *
 * Each clock carries a virtual time besides: copies and collectives take time by their bytes, an
 * engine does one thing at a time. So overlap can be counted on a machine without a GPU.
 */
#include "tests/simgpu/simgpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ACCESSES 8192
#define BYTES_PER_NS 16 /* of every engine: PCIe 4.0 x16, about */
#define START_NS 5000   /* of a copy or a launch */

struct access {
    const uint8_t *from, *to;
    const char *call;
    int id;
    uint32_t at;
    bool write;
};

static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static struct access accesses[ACCESSES]; /* a ring; the oldest are forgotten */
static uint32_t n_accesses;
static int last_id;
static uint64_t engine_free_ns[SIMGPU_ENGINES];

int simgpu_clock_new(void)
{
    int id = __atomic_fetch_add(&last_id, 1, __ATOMIC_RELAXED);

    if (id >= SIMGPU_CLOCKS) {
        simgpu_misuse("clock", "more than %d streams and threads", SIMGPU_CLOCKS);
        abort();
    }
    return id;
}

struct simgpu_clock *simgpu_host_clock(void)
{
    static __thread struct simgpu_clock mine;
    static __thread int id = -1;

    if (id < 0)
        id = simgpu_clock_new();
    mine.at[id]++;
    return &mine;
}

void simgpu_clock_join(struct simgpu_clock *into, const struct simgpu_clock *from)
{
    for (int i = 0; i < SIMGPU_CLOCKS; i++)
        into->at[i] = into->at[i] > from->at[i] ? into->at[i] : from->at[i];
    into->now_ns = into->now_ns > from->now_ns ? into->now_ns : from->now_ns;
}

void simgpu_order_begin(struct simgpu_clock *stream, int id)
{
    simgpu_clock_join(stream, simgpu_host_clock());
    stream->at[id]++;
}

static bool overlaps(const struct access *a, const struct access *b)
{
    return a->from < b->to && b->from < a->to;
}

void simgpu_order_access(const char *call, struct simgpu_clock *stream, int id, const void *p,
                         uint64_t n, bool write)
{
    struct access mine = {
        .from = p, .to = (const uint8_t *)p + n, .call = call, .id = id, .write = write};
    const struct access *race = NULL;
    uint32_t kept = n_accesses < ACCESSES ? n_accesses : ACCESSES;

    if (n == 0)
        return;
    mine.at = stream->at[id];
    pthread_mutex_lock(&order_lock);
    for (uint32_t i = 0; i < kept && !race; i++) {
        const struct access *a = &accesses[i];

        if ((a->write || write) && overlaps(a, &mine) && stream->at[a->id] < a->at)
            race = a;
    }
    if (race)
        simgpu_misuse(call,
                      "it %s %p on stream %d while %s on stream %d, which %s there, may still run: "
                      "nothing orders the two",
                      write ? "writes" : "reads", p, id, race->call, race->id,
                      race->write ? "writes" : "reads");
    accesses[n_accesses++ % ACCESSES] = mine;
    pthread_mutex_unlock(&order_lock);
}

void simgpu_order_work(struct simgpu_clock *stream, enum simgpu_engine engine, uint64_t bytes)
{
    uint64_t from;

    pthread_mutex_lock(&order_lock);
    from = stream->now_ns > engine_free_ns[engine] ? stream->now_ns : engine_free_ns[engine];
    stream->now_ns = from + START_NS + bytes / BYTES_PER_NS;
    engine_free_ns[engine] = stream->now_ns;
    pthread_mutex_unlock(&order_lock);
    simgpu_count_work(engine, bytes, from, stream->now_ns);
}

void simgpu_order_forget(const void *p, uint64_t n)
{
    struct access gone = {.from = p, .to = (const uint8_t *)p + n};

    pthread_mutex_lock(&order_lock);
    for (uint32_t i = 0; i < ACCESSES && i < n_accesses; i++) {
        if (overlaps(&accesses[i], &gone))
            accesses[i].from = accesses[i].to = NULL;
    }
    pthread_mutex_unlock(&order_lock);
}
