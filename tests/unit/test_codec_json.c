/* test_codec_json.c - rules of tensors as JSON. */
#include "tests/unit/codecs_json.h"

#include "schema/limits.h"

/* Reads, writes, compares: the text is as tolist() would print it. */
static void a_nested_list_is_a_tensor_of_its_shape(void **state)
{
    static const struct {
        const char *text, *shape, *back;
        enum dtype d;
    } rows[] = {
        {"1.5", "()", "1.5", DTYPE_float32},
        {"[]", "(0,)", "[]", DTYPE_float32},
        {"[[],[]]", "(2, 0)", "[[],[]]", DTYPE_float32},
        {"[[[],[]],[[],[]],[[],[]]]", "(3, 2, 0)", "[[[],[]],[[],[]],[[],[]]]", DTYPE_int8},
        {"[ 1 ,\n2, 3 ]", "(3,)", "[1,2,3]", DTYPE_float32},
        {"[[1,2,3],[4,5,6]]", "(2, 3)", "[[1,2,3],[4,5,6]]", DTYPE_int64},
        {"[[[1],[2]],[[3],[4]]]", "(2, 2, 1)", "[[[1],[2]],[[3],[4]]]", DTYPE_uint8},
        {"[true,false]", "(2,)", "[true,false]", DTYPE_bool},
        {"[\"NaN\",\"Infinity\",\"-Infinity\",-0.0]", "(4,)",
         "[\"NaN\",\"Infinity\",\"-Infinity\",-0.0]", DTYPE_float64},
        {"[\"\\u004eaN\"]", "(1,)", "[\"NaN\"]", DTYPE_float16},
        {"[18446744073709551615,\"9223372036854775808\",7]", "(3,)",
         "[\"18446744073709551615\",\"9223372036854775808\",7]", DTYPE_uint64},
        {"{\"data\":[1,2]}", "(2,)", "[1,2]", DTYPE_float32},
        {"{\"data\":[1,2,3,4,5,6],\"shape\":[2,3]}", "(2, 3)", "[[1,2,3],[4,5,6]]", DTYPE_float32},
        {"{\"shape\":[3,2],\"data\":[[1,2],[3,4],[5,6]]}", "(3, 2)", "[[1,2],[3,4],[5,6]]",
         DTYPE_float32},
        {"{\"shape\":[],\"data\":7}", "()", "7", DTYPE_float32},
        {"{\"shape\":[0,3],\"data\":[]}", "(0, 3)", "[]", DTYPE_float32},
        {"{\"shape\":[2,0,3],\"data\":[]}", "(2, 0, 3)", "[[],[]]", DTYPE_float32},
        {"{\"shape\":[1,1],\"data\":7}", "(1, 1)", "[[7]]", DTYPE_float32},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tensor *t = must(rows[i].text, rows[i].d);
        struct text out;

        expect_shape(t, rows[i].shape);
        assert_int_equal(t->dtype, rows[i].d);
        text_init(&out);
        json_tensor_write(&out, t);
        assert_string_equal(out.data, rows[i].back);
        assert_int_equal(out.len, strlen(rows[i].back));
        text_fini(&out);
        tensor_unref(t);
    }
}

static void the_dtype_of_an_object_beats_that_of_the_request(void **state)
{
    static const char *const names[] = {"int16", "<i2", "I16", "torch.int16", "SHORT"};

    (void)state;
    for (int i = 0; i < 5; i++) {
        char text[80];
        struct tensor *t;

        snprintf(text, sizeof text, "{\"data\": [1, -2], \"dtype\": \"%s\"}", names[i]);
        t = must(text, DTYPE_float32);
        assert_int_equal(t->dtype, DTYPE_int16);
        assert_memory_equal(tensor_data(t), "\1\0\376\377", 4);
        tensor_unref(t);
    }
}

static void null_is_no_tensor(void **state)
{
    struct tensor *t;
    struct err e;
    bool named;

    (void)state;
    assert_int_equal(read_as("null", DTYPE_float32, &t, &named, &e), 0);
    assert_null(t);
    assert_false(named);
}

static void a_bad_value_is_pointed_at(void **state)
{
    static const struct {
        const char *text;
        enum dtype d;
        enum err_code code;
        const char *pointer;
    } rows[] = {
        {"300", DTYPE_uint8, ERR_number_out_of_range, IN},
        {"[1, -1]", DTYPE_uint8, ERR_number_out_of_range, IN "/1"},
        {"[[1, 2], [3, 1.5]]", DTYPE_int32, ERR_value_invalid, IN "/1/1"},
        {"[70000]", DTYPE_float16, ERR_number_out_of_range, IN "/0"},
        {"[1e400]", DTYPE_float64, ERR_number_out_of_range, IN "/0"},
        {"[1e39]", DTYPE_float32, ERR_number_out_of_range, IN "/0"},
        {"[[[1], [true]]]", DTYPE_float32, ERR_value_invalid, IN "/0/1/0"},
        {"[true, 1]", DTYPE_bool, ERR_value_invalid, IN "/1"},
        {"[true, \"true\"]", DTYPE_bool, ERR_value_invalid, IN "/1"},
        {"[true]", DTYPE_int32, ERR_value_invalid, IN "/0"},
        {"[null]", DTYPE_float32, ERR_value_invalid, IN "/0"},
        {"[null]", DTYPE_bool, ERR_value_invalid, IN "/0"},
        {"[\"nan\"]", DTYPE_float32, ERR_value_invalid, IN "/0"},
        {"[\"inf\"]", DTYPE_float32, ERR_value_invalid, IN "/0"},
        {"[\"1.0\"]", DTYPE_float32, ERR_value_invalid, IN "/0"},
        {"\"1\"", DTYPE_float32, ERR_value_invalid, IN},
        {"[18446744073709551616]", DTYPE_uint64, ERR_number_out_of_range, IN "/0"},
        {"[\"18446744073709551616\"]", DTYPE_uint64, ERR_number_out_of_range, IN "/0"},
        {"[\"-1\"]", DTYPE_uint64, ERR_number_out_of_range, IN "/0"},
        {"[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]",
         DTYPE_float32, ERR_value_invalid, IN "/0"},
        {"{\"data\": [[1, 2], [3, \"x\"]]}", DTYPE_int8, ERR_value_invalid, IN "/data/1/1"},
        {"{\"data\": [1, 2, 3, 400], \"shape\": [2, 2]}", DTYPE_int8, ERR_number_out_of_range,
         IN "/data/3"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        refuse(rows[i].text, rows[i].d, rows[i].code, rows[i].pointer);
}

static void a_ragged_list_is_pointed_at_where_it_first_differs(void **state)
{
    static const struct {
        const char *text, *pointer;
    } rows[] = {
        {"[[1, 2], [3]]", IN "/1"},
        {"[[1], [2, 3]]", IN "/1"},
        {"[[1, 2], 3]", IN "/1"},
        {"[1, [2]]", IN "/1"},
        {"[[], [1]]", IN "/1"},
        {"[[1], []]", IN "/1"},
        {"[[], 1]", IN "/1"},
        {"[1, []]", IN "/1"},
        {"[[[]], []]", IN "/1"},
        {"[[], [[]]]", IN "/1"},
        {"[[[1], [2]], [[3]]]", IN "/1"},
        {"[[[1, 2], [3]], [[4, 5], [6, 7]]]", IN "/0/1"},
        {"[[[1]], [2]]", IN "/1/0"},
        {"[[1], [[2]]]", IN "/1/0"},
        {"[1, {}]", IN "/1"},
        {"[{}]", IN "/0"},
        {"[[{\"a\": [1]}]]", IN "/0/0"},
        {"{\"data\": {\"data\": 1}}", IN "/data"},
        {"{\"data\": [[1], 2]}", IN "/data/1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        refuse(rows[i].text, DTYPE_float32, ERR_ragged, rows[i].pointer);
}

static void an_object_says_one_thing(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
        const char *pointer;
    } rows[] = {
        {"{}", ERR_inputs_invalid, IN},
        {"{\"dtype\": \"int8\"}", ERR_inputs_invalid, IN},
        {"{\"tensor\": \"t_x\", \"data\": [1]}", ERR_inputs_invalid, IN},
        {"{\"tensor\": \"t_x\", \"dtype\": \"int8\"}", ERR_inputs_invalid, IN},
        {"{\"data\": [1], \"dytpe\": \"int8\"}", ERR_unknown_parameter, IN "/dytpe"},
        {"{\"data\": [1], \"a/b~c\": 1}", ERR_unknown_parameter, IN "/a~1b~0c"},
        {"{\"data\": [1], \"data\": [2]}", ERR_duplicate_member, IN},
        {"{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0}", ERR_bad_json,
         IN},
        {"{\"data\": null}", ERR_value_invalid, IN "/data"},
        {"{\"data\": [1], \"dtype\": \"float8\"}", ERR_dtype_unsupported, IN "/dtype"},
        {"{\"data\": [1], \"dtype\": \"f4\"}", ERR_dtype_unsupported, IN "/dtype"},
        {"{\"data\": [1], \"dtype\": 7}", ERR_dtype_unsupported, IN "/dtype"},
        {"{\"data\": [1], \"dtype\": null}", ERR_dtype_unsupported, IN "/dtype"},
        {"{\"data\": [1], \"dtype\": \"\"}", ERR_dtype_unsupported, IN "/dtype"},
    };
    struct tensor *t;
    struct err e;
    bool named;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        refuse(rows[i].text, DTYPE_float32, rows[i].code, rows[i].pointer);
    read_as("{\"data\": 1, \"dtype\": 7}", DTYPE_int8, &t, &named, &e);
    assert_non_null(strstr(e.detail, dtype_names()));
}

static void a_shape_is_a_list_of_lengths_that_the_data_has(void **state)
{
    static const struct {
        const char *shape, *data;
        enum err_code code;
        const char *pointer;
    } rows[] = {
        {"[2,3]", "[1,2,3,4,5]", ERR_size_mismatch, IN "/data"},
        {"[2,3]", "[1,2,3,4,5,6,7]", ERR_size_mismatch, IN "/data"},
        {"[2,3]", "[[1,2],[3,4],[5,6]]", ERR_size_mismatch, IN "/data"},
        {"[6]", "[[1,2],[3,4],[5,6]]", ERR_size_mismatch, IN "/data"},
        {"[]", "[1,2]", ERR_size_mismatch, IN "/data"},
        {"[0]", "[1]", ERR_size_mismatch, IN "/data"},
        {"[2,0]", "[[],[],[]]", ERR_size_mismatch, IN "/data"},
        {"[-1]", "[1]", ERR_shape_invalid, IN "/shape/0"},
        {"[1,1.5]", "[1]", ERR_shape_invalid, IN "/shape/1"},
        {"[\"1\"]", "[1]", ERR_shape_invalid, IN "/shape/0"},
        {"[[1]]", "[1]", ERR_shape_invalid, IN "/shape/0"},
        {"[true]", "[1]", ERR_shape_invalid, IN "/shape/0"},
        {"\"2\"", "[1]", ERR_shape_invalid, IN "/shape"},
        {"2", "[1]", ERR_shape_invalid, IN "/shape"},
        {"null", "[1]", ERR_shape_invalid, IN "/shape"},
        {"[18446744073709551616]", "[1]", ERR_shape_invalid, IN "/shape/0"},
        {"[1099511627776,1099511627776]", "[1]", ERR_shape_too_large, IN "/data"},
        {"[0,4611686018427387904]", "[]", ERR_shape_too_large, IN "/data"},
        {"[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[1]",
         ERR_shape_invalid, IN "/shape/32"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[300];

        snprintf(text, sizeof text, "{\"shape\": %s, \"data\": %s}", rows[i].shape, rows[i].data);
        refuse(text, DTYPE_float32, rows[i].code, rows[i].pointer);
    }
}

static void nested(char *out, int depth)
{
    memset(out, '[', (size_t)depth);
    out[depth] = '1';
    memset(out + depth + 1, ']', (size_t)depth);
    out[2 * depth + 1] = '\0';
}

static void a_tensor_has_as_many_axes_as_numpy_allows(void **state)
{
    char text[160];
    struct tensor *t;
    struct err e;
    bool named;

    (void)state;
    nested(text, LIMIT_NDIM);
    t = must(text, DTYPE_float64);
    assert_int_equal(t->shape.ndim, LIMIT_NDIM);
    tensor_unref(t);
    nested(text, LIMIT_NDIM + 1);
    assert_int_equal(read_as(text, DTYPE_float64, &t, &named, &e), -1);
    assert_int_equal(e.code, ERR_shape_invalid);
    nested(text, LIMIT_JSON_DEPTH);
    assert_int_equal(read_as(text, DTYPE_float64, &t, &named, &e), -1);
    assert_int_equal(e.code, ERR_shape_invalid);
}

/* ---- {"tensor": ...} ---- */

static void a_tensor_is_named_by_its_id(void **state)
{
    struct shape s = {.ndim = 1, .dim = {2}};
    struct tensor *t = codecs_tensor(DTYPE_int32, &s), *got;
    char id[ID_TEXT], text[80];
    struct err e;
    bool named;

    (void)state;
    assert_int_equal(tensor_publish(t), 0);
    snprintf(text, sizeof text, "{\"tensor\": \"%s\"}", id_format('t', &t->id, id));
    assert_int_equal(read_as(text, DTYPE_float32, &got, &named, &e), 0);
    assert_true(named);
    assert_ptr_equal(got, t);
    tensor_unref(got);
    snprintf(text, sizeof text, "{\"tensor\": \"%s\"}", id_format('j', &t->id, id));
    refuse(text, DTYPE_float32, ERR_input_unknown, IN);
    tensor_unref(t);
}

static void a_lost_tensor_is_gone_and_nobody_holds_it(void **state)
{
    struct shape s = {.ndim = 1, .dim = {2}};
    struct tensor *t = tensor_new(DTYPE_int32, &s, NULL, 0);
    char id[ID_TEXT], text[80];

    (void)state;
    assert_int_equal(tensor_publish(t), 0);
    snprintf(text, sizeof text, "{\"tensor\": \"%s\"}", id_format('t', &t->id, id));
    refuse(text, DTYPE_float32, ERR_tensor_lost, IN);
    assert_int_equal(atomic_load(&t->refs), 2);
    tensor_unref(t);
}

static void an_unknown_tensor_is_named_in_at_most_64_bytes(void **state)
{
    static const char *const texts[] = {
        "{\"tensor\": \"t_none\"}",
        "{\"tensor\": \"t_\"}",
        "{\"tensor\": \"\"}",
        "{\"tensor\": \"../../x\"}",
        "{\"tensor\": \"/dev/shm/arena\"}",
        "{\"tensor\": 7}",
        "{\"tensor\": null}",
        "{\"tensor\": [[[1]]]}",
        "{\"tensor\": \"t_00000000000000000000000000\"}",
    };
    char text[400];
    struct tensor *t;
    struct err e;
    bool named;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        refuse(texts[i], DTYPE_float32, ERR_input_unknown, IN);
    snprintf(text, sizeof text, "{\"tensor\": \"%0300d\"}", 7);
    assert_int_equal(read_as(text, DTYPE_float32, &t, &named, &e), -1);
    assert_true(strlen(e.detail) < 64 + sizeof "there is no tensor ");
    assert_int_equal(read_as("{\"tensor\": \"t_\\u001b[31m\"}", DTYPE_float32, &t, &named, &e), -1);
    assert_null(strchr(e.detail, '\x1b'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CODEC_TEST(a_nested_list_is_a_tensor_of_its_shape),
        CODEC_TEST(the_dtype_of_an_object_beats_that_of_the_request),
        CODEC_TEST(null_is_no_tensor),
        CODEC_TEST(a_bad_value_is_pointed_at),
        CODEC_TEST(a_ragged_list_is_pointed_at_where_it_first_differs),
        CODEC_TEST(an_object_says_one_thing),
        CODEC_TEST(a_shape_is_a_list_of_lengths_that_the_data_has),
        CODEC_TEST(a_tensor_has_as_many_axes_as_numpy_allows),
        CODEC_TEST(a_tensor_is_named_by_its_id),
        CODEC_TEST(a_lost_tensor_is_gone_and_nobody_holds_it),
        CODEC_TEST(an_unknown_tensor_is_named_in_at_most_64_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
