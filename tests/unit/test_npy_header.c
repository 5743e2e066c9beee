/* test_npy_header.c - rules of the dict at the head of a .npy. */
#include "tests/unit/npy.h"

#include "server/npy_header.h"

static void a_header_that_is_no_such_dict_is_refused(void **state)
{
    static const struct {
        const char *dict, *word;
    } rows[] = {
        {"", "begin with {"},
        {"()", "begin with {"},
        {"{}", "a key is missing"},
        {"{'descr': '<f4', 'shape': (), }", "a key is missing"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}", "another key"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", "twice"},
        {"{'descr': '<f4, 'fortran_order': False, 'shape': ()}", ""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), ", "a string is expected"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, ", "tuple of integers"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': ()", "comma or }"},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': ()}", "comma or }"},
        {"{'descr' '<f4', 'fortran_order': False, 'shape': ()}", "colon"},
        {"{'descr': '<f4', 'fortran_order': 1, 'shape': ()}", "True or False"},
        {"{'descr': '<f4', 'fortran_order': true, 'shape': ()}", "True or False"},
        {"{'descr': '<f4', 'fortran_order': Tru, 'shape': ()}", "True or False"},
        {"{'descr': '<f4', 'fortran_order': Falsey, 'shape': ()}", "comma or }"},
        {"{'descr': 4, 'fortran_order': False, 'shape': ()}", "a string"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3)}", "(n,)"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 3}", "tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': [3]}", "tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2.0,)}", ""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': ('2',)}", "tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1<<62, 8)}", ""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2**63,)}", ""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", "tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,,2)}", "tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}", ""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': ()} x", "something follows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': ()}{", "something follows"},
        {"{'descr': 'f4', 'fortran_order': False, 'shape': ()}", "'<f4'"},
        {"{'descr': '=f4', 'fortran_order': False, 'shape': ()}", "'<f4'"},
        {"{'de\\x73cr': '<f4', 'fortran_order': False, 'shape': ()}", "escape"},
        {"{'descrdescrdescrdescrdescrdescrdescr': '<f4'}", "too long"},
        {"__import__('os').system('x')", "begin with {"},
    };
    char parens[1000];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        codecs_refuse(&codec_npy, none(), npy, make(1, rows[i].dict, 0, "1234", 4), ERR_npy_header,
                      rows[i].word, rows[i].dict);
    memset(parens, '(', sizeof parens - 1);
    parens[sizeof parens - 1] = '\0';
    codecs_refuse(&codec_npy, none(), npy, make(2, parens, 60000, "", 0), ERR_npy_header, "", "(");
    make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': ()}", 0, "1234", 4);
    npy[20] = '\0';
    codecs_refuse(&codec_npy, none(), npy, 67, ERR_npy_header, "", "a NUL");
}

static void dtypes_that_are_no_tensors_are_refused_by_name(void **state)
{
    static const char *const descr[] = {
        "'|O'",           "'<U4'", "'<c8'", "'<f16'", "'<M8[s]'", "'|S3'",
        "[('a', '<f4')]", "'|V4'", "'|f4'", "'<f3'",  "''",       "'<'"};

    (void)state;
    for (size_t i = 0; i < sizeof descr / sizeof descr[0]; i++) {
        char dict[120];

        snprintf(dict, sizeof dict, "{'descr': %s, 'fortran_order': False, 'shape': (), }",
                 descr[i]);
        codecs_refuse(&codec_npy, none(), npy, make(1, dict, 0, "1234", 4), ERR_dtype_unsupported,
                      "float32", descr[i]);
    }
}

static void shapes_that_cannot_be_are_refused(void **state)
{
    static const struct {
        const char *shape;
        enum err_code code;
    } rows[] = {
        {"(-1,)", ERR_shape_invalid},
        {"(9223372036854775808,)", ERR_shape_too_large},
        {"(18446744073709551616,)", ERR_shape_too_large},
        {"(99999999999999999999999999, 1)", ERR_shape_too_large},
        {"(4611686018427387904, 8)", ERR_shape_too_large},
        {"(4294967296, 4294967296)", ERR_shape_too_large},
        {"(0, 4611686018427387904)", ERR_shape_too_large},
        {"(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)", ERR_shape_invalid},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char dict[200];

        snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }",
                 rows[i].shape);
        codecs_refuse(&codec_npy, none(), npy, make(1, dict, 0, "1234", 4), rows[i].code, "",
                      rows[i].shape);
    }
}

static void the_longest_header_there_is_fits_its_room(void **state)
{
    struct shape s = {.ndim = LIMIT_NDIM};
    char out[NPY_HEADER_TEXT];
    size_t n;

    (void)state;
    for (int i = 0; i < LIMIT_NDIM; i++)
        s.dim[i] = UINT64_MAX;
    n = npy_header_write(DTYPE_float64, &s, UINT32_MAX, out);
    assert_true(n <= sizeof out);
    assert_int_equal(out[n - 1], '\n');
}

static void expect_head(const struct codec_out *what, const char *dict)
{
    struct parts p;
    struct err e;
    uint8_t *all;
    size_t head;

    assert_int_equal(codec_npy.write(what, &p, &e), 0);
    all = codecs_join(&p);
    head = (size_t)(all[8] | all[9] << 8) + 10;
    assert_memory_equal(all, "\x93NUMPY\1", 8);
    assert_int_equal(head % 64, 0);
    assert_memory_equal(all + 10, dict, strlen(dict));
    for (size_t i = 10 + strlen(dict); i < head - 1; i++)
        assert_int_equal(all[i], ' ');
    assert_int_equal(all[head - 1], '\n');
    assert_true(head - 10 - strlen(dict) <= 64);
    free(all);
    parts_fini(&p);
}

static void the_header_is_as_numpy_writes_it(void **state)
{
    static const struct {
        enum dtype d;
        struct shape s;
        const char *one, *stack;
    } rows[] = {
        {DTYPE_float32,
         {0, {0}},
         "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
         "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"},
        {DTYPE_float16,
         {1, {3}},
         "{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }",
         "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }"},
        {DTYPE_bool,
         {2, {0, 4}},
         "{'descr': '|b1', 'fortran_order': False, 'shape': (0, 4), }",
         "{'descr': '|b1', 'fortran_order': False, 'shape': (2, 0, 4), }"},
        {DTYPE_uint8,
         {3, {1, 2, 3}},
         "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 3), }",
         "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 2, 3), }"},
    };

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct tensor *t = codecs_tensor(rows[i].d, &rows[i].s), *two[] = {t, t};

        expect_head(&(struct codec_out){.n = 1, .t = two}, rows[i].one);
        expect_head(&(struct codec_out){.n = 2, .t = two, .stacked = true}, rows[i].stack);
        tensor_unref(t);
    }
}

static void bfloat16_is_written_as_uint16_only_when_asked(void **state)
{
    struct shape s = {.ndim = 1, .dim = {2}};
    struct tensor *t = codecs_tensor(DTYPE_bfloat16, &s);
    struct parts p = {0};
    struct err e;

    (void)state;
    assert_int_equal(codec_npy.write(&(struct codec_out){.n = 1, .t = &t}, &p, &e), -1);
    assert_int_equal(e.code, ERR_not_acceptable);
    assert_non_null(strstr(e.detail, "safetensors"));
    assert_non_null(strstr(e.detail, "raw"));
    assert_non_null(strstr(e.detail, "view=uint16"));
    expect_head(&(struct codec_out){.n = 1, .t = &t, .as_uint16 = true},
                "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }");
    tensor_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CODEC_TEST(a_header_that_is_no_such_dict_is_refused),
        CODEC_TEST(dtypes_that_are_no_tensors_are_refused_by_name),
        CODEC_TEST(shapes_that_cannot_be_are_refused),
        CODEC_TEST(the_longest_header_there_is_fits_its_room),
        CODEC_TEST(the_header_is_as_numpy_writes_it),
        CODEC_TEST(bfloat16_is_written_as_uint16_only_when_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
