/* fuzz_worker.c - the worker link as a worker sees it: frames, decoded and encoded again, then
 * obeyed, by a backend that looks where all that it is handed lies. The input's first byte says
 * whether that backend has devices (1), and masks across hosts (2). */
#include "tests/fuzz/fuzz.h"

#include "schema/frame.h"
#include "worker/arena_map.h"
#include "worker/backend.h"
#include "worker/link.h"
#include "worker/mask.h"
#include "worker/serve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA (64u << 10)
#define IDLE_TURNS 4 /* polls until a batch has ended */

static struct fuzz_in frames;

/* ---- the link: what has come is the input ---- */

int __wrap_link_read(bool wait, struct frame *out, struct err *e);
int __wrap_link_send(const struct frame *f, struct err *e);
int __wrap_link_send_soon(const struct frame *f, struct err *e);
int __wrap_link_flush(struct err *e);
bool __wrap_link_pending(void);
int __wrap_link_take_fd(void);
void __wrap_link_working_on(uint64_t job, uint32_t attempt);

/* Nobody sends two kinds of bytes for one frame: what decodes encodes to what it was. */
static void check_encoded(const struct frame *f, const uint8_t *bytes, size_t len)
{
    static uint8_t again[LIMIT_FRAME_BYTES];
    size_t n = frame_encode(f, again, sizeof again);

    FUZZ_CHECK(n == len && memcmp(again, bytes, len) == 0,
               "a %s frame of %zu bytes is encoded in %zu", frame_type_name(f->type), len, n);
    FUZZ_CHECK(frame_encode(f, again, len - 1) == 0, "a %s frame in one byte less than it has",
               frame_type_name(f->type));
}

int __wrap_link_read(bool wait, struct frame *out, struct err *e)
{
    long took = frame_decode(frames.at, frames.len, out, e);

    (void)wait;
    if (took < 0)
        fuzz_check_err(e);
    if (took <= 0)
        return took < 0 ? -1 : err_set(e, ERR_link, "closed by peer");
    check_encoded(out, frames.at, (size_t)took);
    frames.at += took;
    frames.len -= (size_t)took;
    return 1;
}

int __wrap_link_send(const struct frame *f, struct err *e)
{
    static uint8_t buf[LIMIT_FRAME_BYTES];

    (void)e;
    FUZZ_CHECK(frame_encode(f, buf, sizeof buf) > 0, "an answer that cannot be encoded");
    FUZZ_CHECK(f->type == FRAME_done || f->type == FRAME_failed || f->type == FRAME_ticket ||
                   f->type == FRAME_fetched || f->type == FRAME_seen,
               "a worker sends %s", frame_type_name(f->type));
    return 0;
}

int __wrap_link_send_soon(const struct frame *f, struct err *e)
{
    return __wrap_link_send(f, e);
}

int __wrap_link_flush(struct err *e)
{
    (void)e;
    return 0;
}

bool __wrap_link_pending(void)
{
    return true;
}

/* Of a region, for which there are no addresses here: it is refused, and closed. */
int __wrap_link_take_fd(void)
{
    return memfd_create("fuzz", MFD_CLOEXEC);
}

void __wrap_link_working_on(uint64_t job, uint32_t attempt)
{
    (void)job;
    (void)attempt;
}

/* ---- a backend that believes nothing ---- */

struct comm {
    struct comm *next;
    struct task *const *tasks;
    uint32_t n, ranks, rank, ended, turns;
    bool spans; /* hosts */
};

static struct comm *comms;
static struct backend backend;

static void check_span(const uint8_t *at, uint64_t bytes, const char *what, uint32_t rank)
{
    uint64_t from = (uint64_t)(at - arena_map_base());

    FUZZ_CHECK(at && from <= ARENA && bytes <= ARENA - from,
               "%s %u: [%llu, +%llu) leaves the arena", what, rank, (unsigned long long)from,
               (unsigned long long)bytes);
}

static void check_task(const struct task *t, const struct comm *c)
{
    FUZZ_CHECK(t->n == c->ranks && t->rank == c->rank && t->op >= ops && t->op < ops + OP_COUNT &&
                   t->dtype < DTYPE_COUNT &&
                   (t->mask == MASK_NONE || (backend.masks && c->spans && c->n == 1)),
               "a task of another communicator");
    for (uint32_t r = 0; r < t->n; r++) {
        if (t->inputs[r])
            check_span(t->inputs[r], t->in_bytes, "input", r);
        if (t->outputs[r])
            check_span(t->outputs[r], t->out_bytes, "output", r);
        if (t->masks[r])
            check_span(t->masks[r], t->mask == MASK_AFTER ? t->out_bytes : t->in_bytes, "mask", r);
    }
    FUZZ_CHECK(t->mask == MASK_NONE || t->masks[t->rank], "its own mask is missing");
    /* Without devices every tensor is in the arena. */
    for (uint32_t r = 0; r < t->n && !backend.fetch && !c->spans; r++)
        FUZZ_CHECK((t->inputs[r] || !op_gives(t->op, &t->params, r)) &&
                       (t->outputs[r] || !op_gets(t->op, &t->params, r)),
                   "input or output %u is missing", r);
}

static bool can_reduce(enum reduction r, enum dtype d)
{
    FUZZ_CHECK(r > REDUCE_NONE && r < REDUCTION_COUNT && d < DTYPE_COUNT, "reduction %d of %d",
               (int)r, (int)d);
    return d != DTYPE_int16;
}

static int give_ticket(struct device *d, char *out, size_t size, struct err *e)
{
    (void)d;
    (void)e;
    memset(out, 'f', size - 1);
    out[size - 1] = 0;
    return 0;
}

static int join_group(struct device *d, const struct seat *seat, struct comm **out, struct err *e)
{
    struct comm *c = calloc(1, sizeof *c);

    (void)d;
    (void)e;
    FUZZ_CHECK(c && seat->n > 0 && seat->n <= LIMIT_RANKS && seat->rank < seat->n &&
                   seat->stream <= LIMIT_STREAM && memchr(seat->ticket, 0, LIMIT_TICKET_BYTES),
               "a seat %u of %u", seat->rank, seat->n);
    FUZZ_CHECK(seat->n_hosts > 0 && seat->n_hosts <= seat->n, "%u hosts", seat->n_hosts);
    c->spans = seat->n_hosts > 1;
    c->ranks = seat->n;
    c->rank = seat->rank;
    c->next = comms;
    comms = c;
    *out = c;
    return 0;
}

static void hear(struct comm *c, const char *key, const uint8_t *value, uint32_t bytes)
{
    FUZZ_CHECK(c && memchr(key, 0, LIMIT_STORE_KEY_BYTES) && bytes <= LIMIT_STORE_BYTES,
               "%u bytes are heard", bytes);
    for (uint32_t i = 0; i < bytes; i++)
        c->turns += value[i] == 0xff;
}

static int take_batch(struct comm *c, struct task *const *tasks, uint32_t n, struct err *e)
{
    FUZZ_CHECK(n > 0 && n <= LIMIT_BATCH_JOBS && !c->tasks, "a batch of %u", n);
    c->n = n;
    for (uint32_t i = 0; i < n; i++)
        check_task(tasks[i], c);
    if (tasks[0]->job == 666)
        return err_set(e, ERR_worker_failed, "it is the beast's");
    c->tasks = tasks;
    c->ended = c->turns = 0;
    return 0;
}

static int poll_batch(struct comm *c, struct done *out, struct err *e)
{
    const struct task *t = c->tasks[c->ended];

    (void)e;
    FUZZ_CHECK(c->tasks && c->ended < c->n, "a poll of nothing");
    if (++c->turns % IDLE_TURNS)
        return 0;
    *out = (struct done){.job = t->job, .start_ns = 1, .end_ns = 2};
    if (t->job == 667) {
        out->rc = err_set(&out->err, ERR_aborted, "a peer has aborted");
        c->tasks = NULL;
    } else if (++c->ended == c->n) {
        c->tasks = NULL;
    }
    return 1;
}

static uint64_t progress_of(const struct comm *c)
{
    return c->turns;
}

static void abort_batch(struct comm *c)
{
    FUZZ_CHECK(c->tasks, "an abort of nothing");
    c->tasks = NULL;
}

static void leave_group(struct comm *c, bool peers_lost)
{
    struct comm **at = &comms;

    (void)peers_lost;
    while (*at && *at != c)
        at = &(*at)->next;
    FUZZ_CHECK(*at == c, "a communicator that is not there is left");
    *at = c->next;
    free(c);
}

static int fetch_tensor(struct device *d, uint64_t id, uint8_t *to, uint64_t bytes, struct err *e)
{
    (void)d;
    check_span(to, bytes, "fetch", 0);
    return id == 3 ? 0 : err_set(e, ERR_worker_failed, "there is no tensor %u", (unsigned)id);
}

static void drop_tensor(struct device *d, uint64_t id)
{
    (void)d;
    (void)id;
}

static struct backend backend = {
    .name = "fuzz",
    .reduces = can_reduce,
    .join = join_group,
    .heard = hear,
    .submit = take_batch,
    .poll = poll_batch,
    .progress = progress_of,
    .abort = abort_batch,
    .leave = leave_group,
};

static void map_arena(void)
{
    struct err e;
    int fd;

    if (arena_map_base())
        return;
    fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && ftruncate(fd, ARENA) == 0 && arena_map_open(fd, ARENA, &e) == 0,
               "no arena");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_in in = {data, len};
    uint8_t has = fuzz_u8(&in);
    uint8_t *bytes = fuzz_copy(in.at, in.len);
    struct err e = {0};

    map_arena();
    memset(arena_map_base(), 1, ARENA);
    backend.fetch = has & 1 ? fetch_tensor : NULL;
    backend.drop = has & 1 ? drop_tensor : NULL;
    backend.ticket = has & 1 ? give_ticket : NULL;
    backend.masks = has & 2;
    frames = (struct fuzz_in){bytes, in.len};
    serve_stopping = 0;
    if (serve(&backend, NULL, 1, &e) != 0)
        fuzz_check_err(&e);
    FUZZ_CHECK(!comms, "a communicator was not left");
    free(bytes);
    return 0;
}
