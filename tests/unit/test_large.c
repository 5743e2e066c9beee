/* test_large.c - large results of the shared-memory backend, which go past the caches: every byte
 * of them, and none beside. */
#include "tests/unit/unit.h"

#include "worker/copy.h"
#include "worker/reduce.h"
#include "worker/shm/shm.h"

#include <stdlib.h>
#include <string.h>

#define RANKS 3
#define BEFORE 64 /* what must stay as it is, around the result */
#define CANARY 0xa5

struct large {
    struct task task;
    const uint8_t *inputs[RANKS];
    uint8_t *outputs[RANKS], *held, *want;
    uint64_t bytes;
};

static void make(struct large *l, const char *op, enum dtype d, uint64_t count, uint64_t shift)
{
    uint64_t bytes = count * dtypes[d].size_bytes, bits = 3;

    memset(l, 0, sizeof *l);
    l->bytes = bytes;
    l->held = malloc(bytes + shift + 2 * BEFORE);
    l->want = malloc(bytes);
    assert_non_null(l->held);
    assert_non_null(l->want);
    memset(l->held, CANARY, bytes + shift + 2 * BEFORE);
    for (uint32_t r = 0; r < RANKS; r++) {
        uint8_t *in = malloc(bytes + shift);

        assert_non_null(in);
        for (uint64_t i = 0; i < bytes; i++) {
            bits = bits * 6364136223846793005u + 1442695040888963407u; /* Knuth's, of MMIX */
            in[shift + i] = (uint8_t)(bits >> 56);
        }
        l->inputs[r] = in + shift;
        l->outputs[r] = l->held + BEFORE + shift;
    }
    l->task = (struct task){
        .op = op_find(op, strlen(op)), .dtype = d, .n = RANKS, .in_bytes = bytes};
    l->task.in = l->task.out = (struct shape){.ndim = 1, .dim = {(int64_t)count}};
    l->task.out_bytes = bytes;
    l->task.inputs = l->inputs;
    l->task.outputs = l->outputs;
    reduce_find(d, l->task.op->reduce)(l->want, l->inputs, RANKS, count);
}

static void drop(struct large *l, uint64_t shift)
{
    for (uint32_t r = 0; r < RANKS; r++)
        free((void *)(uintptr_t)(l->inputs[r] - shift));
    free(l->held);
    free(l->want);
}

static void run(const char *op, enum dtype d, uint64_t shift)
{
    uint64_t count = (COPY_STREAM_BYTES + 3333 * 8) / dtypes[d].size_bytes + 1;
    struct large l;

    make(&l, op, d, count, shift);
    for (l.task.rank = 0; l.task.rank < RANKS; l.task.rank++) {
        struct work w = {.task = l.task};

        shm_all_reduce(&w);
        if (w.pieces > 0)
            w.run(&w, 0, w.piece_bytes);
    }
    copy_fence();
    assert_memory_equal(l.outputs[0], l.want, l.bytes);
    for (uint64_t i = 0; i < BEFORE; i++) {
        assert_int_equal(l.held[shift + i], CANARY);
        assert_int_equal(l.outputs[0][l.bytes + i], CANARY);
    }
    drop(&l, shift);
}

/* Aligned to a line, to an element, and to nothing. */
static void every_byte_of_a_large_result_is_right(void **state)
{
    (void)state;
    reduce_init();
    for (int d = 0; d < DTYPE_COUNT; d++) {
        if (dtypes[d].kind == CLASS_BOOL)
            continue;
        run("all_reduce_max", (enum dtype)d, 0);
        if (dtypes[d].kind == CLASS_FLOAT) /* of random bits: which NaN is not promised */
            continue;
        run("all_reduce_sum", (enum dtype)d, 0);
        run("all_reduce_sum", (enum dtype)d, dtypes[d].size_bytes);
        run("all_reduce_sum", (enum dtype)d, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_of_a_large_result_is_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
