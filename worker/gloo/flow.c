/* flow.c - the stations of a plan, step by step.
 *
 * Receives are posted WINDOW chunks ahead, so that a sender has not to ask for room; a chunk's
 * memory is used again WINDOW chunks after it went on. At each step those stations come first that
 * wait for nobody.
 */
#include "worker/gloo/flow.h"
#include "worker/arena_map.h"
#include "worker/reduce.h"
#include "worker/reduce_part.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW (PLAN_LEAD + 1)
#define SLOTS (2 * WINDOW)

/* A chunk on its way through a station. */
struct slot {
    struct parcel **came; /* n_terms: NULL where the term lies here, or has come */
    struct parcel **gone; /* n_to */
    uint8_t **bytes;      /* n_terms: where a received term is */
    uint8_t *made;        /* room for what is made here, if not in the output */
};

struct run {
    const struct station *s;
    uint64_t chunks, posted;
    uint32_t part_bytes; /* of an accumulator */
    bool waits;          /* some term comes from a peer */
    bool in_place;       /* which comes to where it is kept */
    bool open;
    struct slot slots[SLOTS];
    uint8_t *memory;
    void *lists;
};

static uint32_t in_bytes(const struct run *r)
{
    return r->s->parts_in ? r->part_bytes : r->s->item_bytes;
}

static uint32_t out_bytes(const struct run *r)
{
    return r->s->parts_out ? r->part_bytes : r->s->item_bytes;
}

static bool is_whole(const struct rows *rows, uint64_t bytes)
{
    return rows->len >= bytes;
}

static void run_init(struct run *r, const struct station *s)
{
    const struct task *t = s->task;

    *r = (struct run){.s = s, .chunks = (s->items + s->chunk - 1) / s->chunk};
    r->part_bytes = s->reduces ? dtypes[reduce_part_dtype(t->dtype, t->op->reduce)].size_bytes
                               : s->item_bytes;
    for (uint32_t i = 0; i < s->n_terms; i++)
        r->waits |= !s->terms[i].here;
    r->in_place = r->waits && !s->reduces && s->out && is_whole(&s->kept, s->items * s->item_bytes);
}

/* Is what a station makes put into memory of its own? */
static bool needs_room(const struct run *r)
{
    const struct station *s = r->s;

    if (!s->reduces)
        return !r->waits && s->n_to > 0 && !is_whole(&s->in, s->items * s->item_bytes);
    return s->parts_out ? !s->parts_in : !s->out;
}

/* Memory for its chunks, when the first is about to come. */
static int run_open(struct run *r, struct err *e)
{
    const struct station *s = r->s;
    uint64_t items = s->chunk < s->items ? s->chunk : s->items;
    uint64_t received = items * in_bytes(r), made = needs_room(r) ? items * out_bytes(r) : 0, each;
    uint32_t slots = r->chunks < SLOTS ? (uint32_t)r->chunks : SLOTS, coming = 0;
    void **list;

    for (uint32_t i = 0; i < s->n_terms && !r->in_place; i++)
        coming += !s->terms[i].here;
    received = (received + 63) / 64 * 64;
    each = coming * received + (made + 63) / 64 * 64;
    r->open = true;
    r->lists = list = calloc((size_t)slots * (2 * s->n_terms + s->n_to), sizeof *list);
    r->memory = each ? aligned_alloc(64, slots * each) : NULL;
    if (!list || (each && !r->memory))
        return err_set(e, ERR_no_memory, "%llu bytes of chunks",
                       (unsigned long long)(slots * each));
    for (uint32_t i = 0; i < slots; i++) {
        struct slot *slot = &r->slots[i];
        uint8_t *at = r->memory ? r->memory + i * each : NULL;

        slot->came = (struct parcel **)list;
        slot->gone = (struct parcel **)(list += s->n_terms);
        slot->bytes = (uint8_t **)(list += s->n_to);
        list += s->n_terms;
        for (uint32_t term = 0; term < s->n_terms && coming > 0; term++) {
            slot->bytes[term] = at;
            at += s->terms[term].here ? 0 : received;
        }
        slot->made = at;
    }
    return 0;
}

static void run_close(struct run *r)
{
    free(r->memory);
    free(r->lists);
    r->memory = NULL;
    r->lists = NULL;
}

/* Names a chunk between two ranks: 15 bits of the batch, 5 of the task, 24 of the tag, 20 of the
 * chunk. */
static uint64_t name_of(const struct flow *f, const struct station *s, uint32_t tag, uint64_t chunk)
{
    return (uint64_t)(f->number & 0x7fff) << 49 | (uint64_t)s->in_batch << 44 |
           (uint64_t)tag << 20 | chunk;
}

static uint64_t items_of(const struct run *r, uint64_t chunk)
{
    uint64_t left = r->s->items - chunk * r->s->chunk;

    return left < r->s->chunk ? left : r->s->chunk;
}

/* What the slot held has left. */
static int slot_free(const struct flow *f, const struct run *r, struct slot *slot, struct err *e)
{
    for (uint32_t i = 0; i < r->s->n_to; i++) {
        struct parcel *p = slot->gone[i];

        slot->gone[i] = NULL;
        if (p && wire_wait(f->wire, p, f->silent_ms, e) != 0)
            return -1;
    }
    return 0;
}

static int post(const struct flow *f, struct run *r, uint64_t chunk, struct err *e)
{
    const struct station *s = r->s;
    struct slot *slot = &r->slots[chunk % SLOTS];

    if (slot_free(f, r, slot, e) != 0)
        return -1;
    for (uint32_t i = 0; i < s->n_terms; i++) {
        const struct term *t = &s->terms[i];

        if (t->here)
            continue;
        if (r->in_place)
            slot->bytes[i] = s->out + s->kept.offset + chunk * s->chunk * s->item_bytes;
        if (r->in_place)
            arena_map_touch(slot->bytes[i], items_of(r, chunk) * s->item_bytes);
        slot->came[i] = wire_recv(f->wire, t->peer, name_of(f, s, t->tag, chunk), slot->bytes[i],
                                  items_of(r, chunk) * in_bytes(r), e);
        if (!slot->came[i])
            return -1;
    }
    return 0;
}

/* ---- a chunk's work ---- */

/* From the first to the last of bytes [lo, hi) of rows, and what lies between them. */
static void touch(const uint8_t *base, const struct rows *r, uint64_t lo, uint64_t hi)
{
    uint64_t first = r->offset + lo / r->len * r->stride + lo % r->len;
    uint64_t last = r->offset + (hi - 1) / r->len * r->stride + (hi - 1) % r->len;

    arena_map_touch(base + first, last - first + 1);
}

/* Bytes [lo, hi) of rows to memory in one piece, or from there. */
static void copy_rows_of(const uint8_t *src, struct rows from, uint8_t *dst, struct rows to,
                         uint64_t lo, uint64_t hi, uint64_t total)
{
    const struct move m = {.src = src, .dst = dst, .from = from, .to = to, .total_bytes = total};

    copy_range(&m, lo, hi);
}

/* The chunk that moves, in one piece if it goes on; kept where it is to be. */
static const uint8_t *move_chunk(const struct run *r, struct slot *slot, uint64_t lo, uint64_t hi)
{
    const struct station *s = r->s;
    uint64_t total = s->items * s->item_bytes;
    struct rows piece = plan_whole(total);
    const uint8_t *at = slot->bytes[0];

    piece.offset = 0;
    if (s->terms[0].here) {
        at = s->terms[0].here;
        touch(at, &s->in, lo, hi);
        if (s->out)
            touch(s->out, &s->kept, lo, hi);
        if (s->out)
            copy_rows_of(at, s->in, s->out, s->kept, lo, hi, total);
        if (s->n_to == 0 || is_whole(&s->in, total))
            return at + s->in.offset + lo;
        copy_rows_of(at, s->in, slot->made - lo, piece, lo, hi, total);
        return slot->made;
    }
    if (s->out && !r->in_place) {
        touch(s->out, &s->kept, lo, hi);
        copy_rows_of(at - lo, piece, s->out, s->kept, lo, hi, total);
    }
    return at;
}

/* Items of the terms from an item of the chunk on; in the memory of this host they may be a part of
 * a row, which ends before `end`. */
static uint64_t terms_at(const struct run *r, const struct slot *slot, uint64_t first, uint64_t at,
                         uint64_t end, const uint8_t **in)
{
    const struct station *s = r->s;
    uint64_t byte = (first + at) * s->item_bytes, in_row = byte % s->in.len;
    uint64_t left = (s->in.len - in_row) / s->item_bytes;
    uint64_t place = s->in.offset + byte / s->in.len * s->in.stride + in_row;

    for (uint32_t i = 0; i < s->n_terms; i++)
        in[i] = s->terms[i].here ? s->terms[i].here + place : slot->bytes[i] + at * in_bytes(r);
    return left < end - at ? left : end - at;
}

static void reduce_some(const struct run *r, uint8_t *to, const uint8_t **in, uint64_t items)
{
    const struct station *s = r->s;
    const struct task *t = s->task;
    enum reduction how = t->op->reduce;
    uint8_t *sum = to;

    if (!s->parts_in && !s->parts_out) {
        reduce_find(t->dtype, how)(to, in, s->n_terms, items);
        return;
    }
    if (!s->parts_in) {
        reduce_part_add(t->dtype, how, to, NULL, in, s->n_terms, items);
        return;
    }
    if (!s->parts_out && r->part_bytes != s->item_bytes)
        sum = (uint8_t *)(uintptr_t)in[0]; /* received, and so ours to write to */
    reduce_part_add(t->dtype, how, sum, in[0], in + 1, s->n_terms - 1, items);
    if (!s->parts_out)
        reduce_part_end(t->dtype, how, to, sum, t->n, items);
}

static const uint8_t *reduce_chunk(const struct run *r, struct slot *slot, uint64_t first,
                                   uint64_t items)
{
    const struct station *s = r->s;
    const uint8_t *in[LIMIT_RANKS];
    uint8_t *to = slot->made;

    if (s->parts_in && s->parts_out)
        to = slot->bytes[0];
    else if (!s->parts_out && s->out)
        to = s->out + s->kept.offset + first * s->item_bytes;
    for (uint32_t i = 0; i < s->n_terms; i++) {
        if (s->terms[i].here)
            touch(s->terms[i].here, &s->in, first * s->item_bytes, (first + items) * s->item_bytes);
    }
    if (!s->parts_out && s->out)
        arena_map_touch(to, items * s->item_bytes);
    for (uint64_t at = 0; at < items;) {
        uint64_t some = terms_at(r, slot, first, at, items, in);

        reduce_some(r, to + at * out_bytes(r), in, some);
        at += some;
    }
    return to;
}

static int handle(const struct flow *f, struct run *r, uint64_t chunk, struct err *e)
{
    const struct station *s = r->s;
    struct slot *slot = &r->slots[chunk % SLOTS];
    uint64_t first = chunk * s->chunk, items = items_of(r, chunk);
    const uint8_t *at;

    if (!r->waits && slot_free(f, r, slot, e) != 0)
        return -1;
    for (uint32_t i = 0; i < s->n_terms; i++) {
        struct parcel *p = slot->came[i];

        slot->came[i] = NULL;
        if (p && wire_wait(f->wire, p, f->silent_ms, e) != 0)
            return -1;
    }
    if (s->reduces)
        at = reduce_chunk(r, slot, first, items);
    else
        at = move_chunk(r, slot, first * s->item_bytes, (first + items) * s->item_bytes);
    for (uint32_t i = 0; i < s->n_to; i++) {
        slot->gone[i] = wire_send(f->wire, s->to[i].peer, name_of(f, s, s->to[i].tag, chunk), at,
                                  items * out_bytes(r), e);
        if (!slot->gone[i])
            return -1;
    }
    if (s->out)
        atomic_fetch_add_explicit(f->done, items * s->item_bytes, memory_order_relaxed);
    return 0;
}

/* ---- steps ---- */

/* All that a station has to do by the end of a step, but for waits. */
static int prepare(const struct flow *f, struct run *r, uint64_t step, struct err *e)
{
    bool soon = r->s->first < step + 1 + (r->waits ? WINDOW : 0);

    if (r->chunks == 0 || !soon)
        return 0;
    if (!r->open && run_open(r, e) != 0)
        return -1;
    while (r->waits && r->posted < r->chunks && r->s->first + r->posted < step + 1 + WINDOW) {
        if (post(f, r, r->posted, e) != 0)
            return -1;
        r->posted++;
    }
    return 0;
}

/* After the last chunk, when the memory of none is in use. */
static int finish(const struct flow *f, struct run *r, struct err *e)
{
    for (uint64_t i = 0; i < SLOTS && i < r->chunks && r->lists; i++) {
        if (slot_free(f, r, &r->slots[i], e) != 0)
            return -1;
    }
    run_close(r);
    return 0;
}

static int step_all(const struct flow *f, struct run *runs, uint32_t n, uint64_t step,
                    struct err *e)
{
    for (uint32_t i = 0; i < n; i++) {
        if (prepare(f, &runs[i], step, e) != 0)
            return -1;
    }
    for (int waits = 0; waits <= 1; waits++) {
        for (uint32_t i = 0; i < n; i++) {
            struct run *r = &runs[i];

            if (r->waits != (bool)waits || step < r->s->first || step - r->s->first >= r->chunks)
                continue;
            if (atomic_load(f->stop))
                return err_set(e, ERR_aborted, "stopped");
            if (handle(f, r, step - r->s->first, e) != 0)
                return -1;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (step == runs[i].s->first + runs[i].chunks + SLOTS && finish(f, &runs[i], e) != 0)
            return -1;
    }
    return 0;
}

static int run_all(const struct flow *f, struct run *runs, uint32_t n, struct err *e)
{
    uint64_t steps = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t end = runs[i].s->first + runs[i].chunks;

        steps = end > steps ? end : steps;
    }
    for (uint64_t step = 0; step < steps; step++) {
        if (step_all(f, runs, n, step, e) != 0)
            return -1;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (finish(f, &runs[i], e) != 0)
            return -1;
    }
    return 0;
}

static int carry_out(const struct flow *f, const struct plan *p, struct err *e)
{
    struct run *runs = calloc(p->n ? p->n : 1, sizeof *runs);
    int rc;

    if (!runs)
        return err_set(e, ERR_no_memory, "the stations of %u streams", p->n);
    for (uint32_t i = 0; i < p->n; i++)
        run_init(&runs[i], p->stations[i]);
    rc = run_all(f, runs, p->n, e);
    if (rc != 0)
        wire_stop(f->wire); /* nothing comes into the memory that is given back here */
    for (uint32_t i = 0; i < p->n; i++)
        run_close(&runs[i]);
    free(runs);
    return rc;
}

int flow_run(struct flow *f, const struct map *m, struct task *const *tasks, uint32_t n,
             struct err *e)
{
    struct plan p;
    int rc = plan_of(&p, m, tasks, n, e);

    if (rc == 0)
        rc = carry_out(f, &p, e);
    else
        wire_stop(f->wire); /* the others wait for nothing */
    plan_free(&p);
    f->number++;
    return rc;
}
