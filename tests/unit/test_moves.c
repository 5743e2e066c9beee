/* test_moves.c - how the shared-memory backend cuts what only moves. */
#include "tests/unit/unit.h"

#include "worker/shm/shm.h"

#define RANKS 3
#define ROWS 6

static shm_plan_fn *const plans[KIND_COUNT] = {
#define X(KIND, kind) [KIND_##KIND] = shm_##kind,
    KINDS(X)
#undef X
};

/* How many pieces all ranks have together, when each output lies `apart` bytes behind its view. */
static uint32_t pieces_of(const struct op *op, uint64_t apart)
{
    static uint8_t bytes[4 * ROWS];
    const uint8_t *inputs[RANKS] = {0};
    uint8_t *outputs[RANKS] = {0};
    struct task t = {.op = op, .dtype = DTYPE_uint8, .n = RANKS, .in_bytes = ROWS};
    uint32_t pieces = 0;
    struct err e;

    t.params = (struct op_params){.src = 0, .dst = 1};
    t.in = (struct shape){.ndim = 1, .dim = {ROWS}};
    assert_int_equal(op_out_shape(op, &t.params, RANKS, &t.in, &t.out, &e), 0);
    t.out_bytes = (uint64_t)t.out.dim[0];
    t.inputs = inputs;
    t.outputs = outputs;
    for (uint32_t r = 0; r < RANKS; r++) {
        if (op_gives(op, &t.params, r))
            inputs[r] = bytes;
        if (op_gets(op, &t.params, r))
            outputs[r] = bytes + op_view_offset(op, &t.params, RANKS, r, &t.in) + apart;
    }
    for (t.rank = 0; t.rank < RANKS; t.rank++) {
        struct work w = {.task = t};

        plans[op->kind](&w);
        pieces += w.pieces;
    }
    return pieces;
}

static void a_view_has_no_pieces(void **state)
{
    const struct shape in = {.ndim = 1, .dim = {ROWS}};
    const struct op_params p = {.src = 0, .dst = 1};
    uint32_t views = 0;

    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        if (!op_is_view(op, &p, RANKS, &in))
            continue;
        views++;
        assert_int_equal(pieces_of(op, 0), 0);
        assert_true(pieces_of(op, ROWS) > 0);
    }
    assert_true(views > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_view_has_no_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
