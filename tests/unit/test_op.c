/* test_op.c - the rules that hold for every row of ops.def, and one plain example a row. */
#include "tests/unit/unit.h"

#include "schema/op.h"

#include <string.h>

static struct shape shape2(uint64_t a, uint64_t b)
{
    return (struct shape){.ndim = 2, .dim = {a, b}};
}

/* For every row, so that a new collective is covered the day it is added. */
static void adjoint_gives_back_the_shape_the_op_took(void **state)
{
    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        const struct op *adjoint = &ops[op->adjoint];
        struct op_params p = {.split_axis = 0, .concat_axis = -1, .src = 2, .dst = 1};
        struct op_params q = op_adjoint_params(&p);
        struct shape took = {.ndim = 2, .dim = {12, 8}}, gave, back;
        struct err e;

        if (op->adjoint == OP_none)
            continue;
        assert_int_equal(op_out_shape(op, &p, 4, &took, &gave, &e), 0);
        assert_int_equal(op_out_shape(adjoint, &q, 4, &gave, &back, &e), 0);
        assert_true(shape_equal(&took, &back));
    }
}

/* The names say the same as what the row takes. */
static void parameters_have_their_names(void **state)
{
    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        bool axis = false, axes = false, peers = false;

        for (const char *const *name = op_parameter_names(op); *name; name++) {
            axis |= strcmp(*name, "axis") == 0;
            axes |= strcmp(*name, "split_axis") == 0;
            peers |= strcmp(*name, "src") == 0;
        }
        assert_int_equal(axis, op_takes_axis(op));
        assert_int_equal(axes, op_takes_two_axes(op));
        assert_int_equal(peers, op_takes_peers(op));
    }
}

static void who_got_now_gives(void **state)
{
    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        const struct op *adjoint = &ops[op->adjoint];
        struct op_params p = {.src = 2, .dst = 1};
        struct op_params q = op_adjoint_params(&p);

        for (uint32_t r = 0; r < 4 && op->adjoint != OP_none; r++) {
            assert_int_equal(op_gets(op, &p, r), op_gives(adjoint, &q, r));
            assert_int_equal(op_gives(op, &p, r), op_gets(adjoint, &q, r));
        }
    }
}

static void every_row_is_found_by_its_name(void **state)
{
    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        assert_ptr_equal(op_find(op->name, strlen(op->name)), op);
        assert_non_null(strstr(op_names(), op->name));
        assert_true(strlen(op->sentence) > 10);
    }
    assert_null(op_find("all_reduce", 10));
    assert_null(op_find("", 0));
}

/* Written out once more by hand: a wrong column is not caught by symmetry. */
static void the_rows_say_what_the_design_says(void **state)
{
    static const struct {
        enum op_id op;
        enum reduction reduce;
        enum party in, out;
        uint64_t a, b; /* of (8, 12) over 4 ranks, split axis 0, concat axis 1 */
        double bus;
    } want[] = {
        {OP_reduce_sum, REDUCE_SUM, PARTY_EACH, PARTY_ROOT, 8, 12, 1.0},
        {OP_reduce_max, REDUCE_MAX, PARTY_EACH, PARTY_ROOT, 8, 12, 1.0},
        {OP_reduce_min, REDUCE_MIN, PARTY_EACH, PARTY_ROOT, 8, 12, 1.0},
        {OP_broadcast, REDUCE_NONE, PARTY_ROOT, PARTY_EACH, 8, 12, 1.0},
        {OP_all_gather, REDUCE_NONE, PARTY_EACH, PARTY_EACH, 8, 48, 0.75},
        {OP_reduce_scatter_sum, REDUCE_SUM, PARTY_EACH, PARTY_EACH, 2, 12, 0.75},
        {OP_reduce_scatter_max, REDUCE_MAX, PARTY_EACH, PARTY_EACH, 2, 12, 0.75},
        {OP_reduce_scatter_min, REDUCE_MIN, PARTY_EACH, PARTY_EACH, 2, 12, 0.75},
        {OP_all_reduce_sum, REDUCE_SUM, PARTY_EACH, PARTY_EACH, 8, 12, 1.5},
        {OP_all_reduce_max, REDUCE_MAX, PARTY_EACH, PARTY_EACH, 8, 12, 1.5},
        {OP_all_reduce_min, REDUCE_MIN, PARTY_EACH, PARTY_EACH, 8, 12, 1.5},
        {OP_all_reduce_prod, REDUCE_PROD, PARTY_EACH, PARTY_EACH, 8, 12, 1.5},
        {OP_all_reduce_avg, REDUCE_AVG, PARTY_EACH, PARTY_EACH, 8, 12, 1.5},
        {OP_all_reduce_and, REDUCE_AND, PARTY_EACH, PARTY_EACH, 8, 12, 1.5},
        {OP_all_reduce_or, REDUCE_OR, PARTY_EACH, PARTY_EACH, 8, 12, 1.5},
        {OP_all_reduce_xor, REDUCE_XOR, PARTY_EACH, PARTY_EACH, 8, 12, 1.5},
        {OP_gather, REDUCE_NONE, PARTY_EACH, PARTY_ROOT, 8, 48, 0.75},
        {OP_scatter, REDUCE_NONE, PARTY_ROOT, PARTY_EACH, 2, 12, 0.75},
        {OP_all_to_all, REDUCE_NONE, PARTY_EACH, PARTY_EACH, 2, 48, 0.75},
        {OP_remote_send, REDUCE_NONE, PARTY_SRC, PARTY_DST, 8, 12, 1.0},
        {OP_remote_recv, REDUCE_NONE, PARTY_SRC, PARTY_DST, 8, 12, 1.0},
        {OP_barrier, REDUCE_NONE, PARTY_NOBODY, PARTY_NOBODY, 8, 12, 1.0},
    };

    (void)state;
    assert_int_equal(sizeof want / sizeof want[0], OP_COUNT);
    for (size_t i = 0; i < OP_COUNT; i++) {
        const struct op *op = &ops[want[i].op];
        struct op_params p = {.split_axis = 0, .concat_axis = 1, .src = 0, .dst = 1};
        struct shape in = shape2(8, 12), out;
        struct err e;

        assert_int_equal(op_out_shape(op, &p, 4, &in, &out, &e), 0);
        assert_int_equal(out.dim[0], want[i].a);
        assert_int_equal(out.dim[1], want[i].b);
        assert_int_equal(op->reduce, want[i].reduce);
        assert_int_equal(op->in, want[i].in);
        assert_int_equal(op->out, want[i].out);
        assert_true(op_bus_factor(op, 4) == want[i].bus);
    }
}

static void an_axis_outside_the_shape_is_refused_and_named(void **state)
{
    struct op_params p = {.split_axis = 2, .concat_axis = 2};
    struct shape in = shape2(4, 4), out;
    struct err e;

    (void)state;
    assert_int_equal(op_out_shape(&ops[OP_all_gather], &p, 2, &in, &out, &e), -1);
    assert_int_equal(e.code, ERR_axis_out_of_range);
    assert_string_equal(e.pointer, "/axis");
    assert_non_null(strstr(e.detail, "[-2, 2)"));
    p.split_axis = -3;
    assert_int_equal(op_out_shape(&ops[OP_all_to_all], &p, 2, &in, &out, &e), -1);
    assert_string_equal(e.pointer, "/split_axis");
    p.split_axis = -2;
    p.concat_axis = -1;
    assert_int_equal(op_out_shape(&ops[OP_all_to_all], &p, 2, &in, &out, &e), 0);
}

static void a_scalar_goes_only_where_no_axis_is(void **state)
{
    struct op_params p = {.src = 0, .dst = 1};
    struct shape scalar = {.ndim = 0}, out;
    struct err e;

    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        int rc = op_out_shape(op, &p, 2, &scalar, &out, &e);

        assert_int_equal(rc, op->dim == DIM_SAME ? 0 : -1);
        if (rc == 0)
            assert_int_equal(out.ndim, 0);
    }
}

static void a_split_axis_must_divide(void **state)
{
    struct op_params p = {.split_axis = 0, .concat_axis = 0};
    struct shape in = shape2(5, 2), out;
    struct err e;

    (void)state;
    assert_int_equal(op_out_shape(&ops[OP_scatter], &p, 2, &in, &out, &e), -1);
    assert_int_equal(e.code, ERR_not_divisible);
    assert_int_equal(op_out_shape(&ops[OP_all_to_all], &p, 2, &in, &out, &e), -1);
    assert_int_equal(op_out_shape(&ops[OP_all_gather], &p, 2, &in, &out, &e), 0);
}

static void a_joined_axis_cannot_overflow(void **state)
{
    struct op_params p = {.split_axis = 0, .concat_axis = 0};
    struct shape in = {.ndim = 1, .dim = {UINT64_MAX / 2}}, out;
    struct err e;

    (void)state;
    assert_int_equal(op_out_shape(&ops[OP_all_gather], &p, 3, &in, &out, &e), -1);
    assert_int_equal(e.code, ERR_shape_too_large);
}

static void src_and_dst_are_two_ranks_of_the_group(void **state)
{
    const struct op *op = &ops[OP_remote_send];
    struct err e;

    (void)state;
    assert_int_equal(op_check_peers(op, &(struct op_params){.src = 0, .dst = 1}, 2, &e), 0);
    assert_int_equal(op_check_peers(op, &(struct op_params){.src = 1, .dst = 1}, 2, &e), -1);
    assert_int_equal(op_check_peers(op, &(struct op_params){.src = 0, .dst = 2}, 2, &e), -1);
    assert_string_equal(e.pointer, "/dst");
    assert_int_equal(op_check_peers(op, &(struct op_params){.src = 0, .dst = 1}, 1, &e), -1);
    assert_int_equal(op_check_peers(&ops[OP_broadcast], &(struct op_params){.dst = 9}, 1, &e), 0);
}

static void reductions_take_the_dtypes_that_they_can(void **state)
{
    struct err e;

    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        bool number = op->reduce == REDUCE_SUM || op->reduce == REDUCE_PROD,
             mean = op->reduce == REDUCE_AVG;
        bool bits = op->reduce == REDUCE_AND || op->reduce == REDUCE_OR || op->reduce == REDUCE_XOR;

        assert_int_equal(op_check_dtype(op, DTYPE_bool, &e), number || mean ? -1 : 0);
        assert_int_equal(op_check_dtype(op, DTYPE_int8, &e), mean ? -1 : 0);
        assert_int_equal(op_check_dtype(op, DTYPE_bfloat16, &e), bits ? -1 : 0);
    }
}

/* A view is right when its bytes are the part that the rank should get. */
static void a_view_begins_where_the_ranks_part_lies(void **state)
{
    struct op_params p = {.split_axis = 1, .concat_axis = 1, .src = 0, .dst = 1};
    struct shape row = {.ndim = 3, .dim = {1, 6, 5}}, rows = {.ndim = 3, .dim = {2, 6, 5}};

    (void)state;
    assert_true(op_is_view(&ops[OP_scatter], &p, 3, &row));
    assert_false(op_is_view(&ops[OP_scatter], &p, 3, &rows));
    assert_int_equal(op_view_offset(&ops[OP_scatter], &p, 3, 2, &row), 2 * 2 * 5);
    assert_true(op_is_view(&ops[OP_broadcast], &p, 3, &rows));
    assert_int_equal(op_view_offset(&ops[OP_broadcast], &p, 3, 2, &rows), 0);
    assert_true(op_is_view(&ops[OP_remote_recv], &p, 3, &rows));
    assert_false(op_is_view(&ops[OP_all_reduce_sum], &p, 3, &rows));
    assert_true(op_is_view(&ops[OP_all_to_all], &p, 1, &rows));
}

static void one_output_serves_all_where_all_end_alike(void **state)
{
    (void)state;
    assert_true(op_shares_output(&ops[OP_all_reduce_max]));
    assert_true(op_shares_output(&ops[OP_all_gather]));
    assert_true(op_shares_output(&ops[OP_broadcast]));
    assert_false(op_shares_output(&ops[OP_scatter]));
    assert_false(op_shares_output(&ops[OP_reduce_sum]));
    assert_false(op_shares_output(&ops[OP_all_to_all]));
}

static void an_empty_tensor_is_legal_everywhere_it_divides(void **state)
{
    struct op_params p = {.split_axis = 0, .concat_axis = 1, .src = 0, .dst = 1};
    struct shape in = shape2(0, 3), out;
    struct err e;

    (void)state;
    for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
        assert_int_equal(op_out_shape(op, &p, 4, &in, &out, &e), 0);
        assert_int_equal(shape_count(&out), 0);
        for (uint32_t r = 0; r < 4; r++)
            if (op_is_view(op, &p, 4, &in))
                assert_int_equal(op_view_offset(op, &p, 4, r, &in), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adjoint_gives_back_the_shape_the_op_took),
        cmocka_unit_test(parameters_have_their_names),
        cmocka_unit_test(who_got_now_gives),
        cmocka_unit_test(every_row_is_found_by_its_name),
        cmocka_unit_test(the_rows_say_what_the_design_says),
        cmocka_unit_test(an_axis_outside_the_shape_is_refused_and_named),
        cmocka_unit_test(a_scalar_goes_only_where_no_axis_is),
        cmocka_unit_test(a_split_axis_must_divide),
        cmocka_unit_test(a_joined_axis_cannot_overflow),
        cmocka_unit_test(src_and_dst_are_two_ranks_of_the_group),
        cmocka_unit_test(reductions_take_the_dtypes_that_they_can),
        cmocka_unit_test(a_view_begins_where_the_ranks_part_lies),
        cmocka_unit_test(one_output_serves_all_where_all_end_alike),
        cmocka_unit_test(an_empty_tensor_is_legal_everywhere_it_divides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
