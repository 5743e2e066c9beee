/* test_shape.c - sizes never wrap; layouts multiply back. */
#include "tests/unit/unit.h"

#include "schema/layout.h"
#include "schema/shape.h"

static void a_scalar_has_one_element(void **state)
{
    struct shape s = {.ndim = 0};
    uint64_t count, bytes;
    struct err e;

    (void)state;
    assert_int_equal(shape_measure(&s, DTYPE_float64, &count, &bytes, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(bytes, 8);
}

static void a_product_past_the_address_space_is_refused(void **state)
{
    static const struct shape wraps[] = {
        {.ndim = 3, .dim = {4194305, 4194305, 211106198978564}}, /* 16 bytes after a wrap */
        {.ndim = 2, .dim = {1ull << 62, 8}},
        {.ndim = 1, .dim = {UINT64_MAX}},
        {.ndim = 2, .dim = {0, 1ull << 62}}, /* NumPy leaves the zero out, too */
        {.ndim = 1, .dim = {1ull << 61}},    /* 2^63 bytes of float32: one too many */
    };
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof wraps / sizeof wraps[0]; i++) {
        assert_int_equal(shape_measure(&wraps[i], DTYPE_float32, NULL, NULL, &e), -1);
        assert_int_equal(e.code, ERR_shape_too_large);
    }
}

static void the_largest_size_is_accepted(void **state)
{
    struct shape s = {.ndim = 1, .dim = {(uint64_t)PTRDIFF_MAX}};
    uint64_t bytes;
    struct err e;

    (void)state;
    assert_int_equal(shape_measure(&s, DTYPE_int8, NULL, &bytes, &e), 0);
    assert_true(bytes == (uint64_t)PTRDIFF_MAX);
    assert_int_equal(shape_measure(&s, DTYPE_int16, NULL, &bytes, &e), -1);
}

static void thirty_two_dimensions_are_the_limit(void **state)
{
    struct shape s = {.ndim = LIMIT_NDIM};
    struct err e;

    (void)state;
    for (int i = 0; i < LIMIT_NDIM; i++)
        s.dim[i] = 1;
    assert_int_equal(shape_measure(&s, DTYPE_bool, NULL, NULL, &e), 0);
    s.ndim++;
    assert_int_equal(shape_measure(&s, DTYPE_bool, NULL, NULL, &e), -1);
    assert_int_equal(e.code, ERR_shape_invalid);
}

static void a_shape_reads_as_python_writes_it(void **state)
{
    char text[SHAPE_TEXT], tiny[8];

    (void)state;
    assert_string_equal(shape_format(&(struct shape){.ndim = 0}, text, sizeof text), "()");
    assert_string_equal(shape_format(&(struct shape){.ndim = 1, .dim = {3}}, text, sizeof text),
                        "(3,)");
    assert_string_equal(shape_format(&(struct shape){.ndim = 2, .dim = {2, 3}}, text, sizeof text),
                        "(2, 3)");
    shape_format(&(struct shape){.ndim = 3, .dim = {1000, 1000, 1000}}, tiny, sizeof tiny);
    assert_string_equal(tiny, "(1000, ");
}

static void a_layout_multiplies_back_to_the_count(void **state)
{
    struct shape s = {.ndim = 4, .dim = {2, 3, 5, 7}};

    (void)state;
    for (uint32_t axis = 0; axis < 4; axis++) {
        struct layout l = layout_of(&s, axis);

        assert_int_equal(l.outer * l.axis * l.inner, shape_count(&s));
        assert_int_equal(l.axis, s.dim[axis]);
    }
    assert_int_equal(layout_of(&s, 1).outer, 2);
    assert_int_equal(layout_of(&s, 1).inner, 35);
}

static void equal_shapes_have_equal_dims(void **state)
{
    struct shape a = {.ndim = 2, .dim = {2, 3, 9}}, b = {.ndim = 2, .dim = {2, 3, 8}};

    (void)state;
    assert_true(shape_equal(&a, &b));
    b.dim[1] = 4;
    assert_false(shape_equal(&a, &b));
    b = a;
    b.ndim = 1;
    assert_false(shape_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scalar_has_one_element),
        cmocka_unit_test(a_product_past_the_address_space_is_refused),
        cmocka_unit_test(the_largest_size_is_accepted),
        cmocka_unit_test(thirty_two_dimensions_are_the_limit),
        cmocka_unit_test(a_shape_reads_as_python_writes_it),
        cmocka_unit_test(a_layout_multiplies_back_to_the_count),
        cmocka_unit_test(equal_shapes_have_equal_dims),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
