/* test_codec_npy.c - rules of .npy bodies. */
#include "tests/unit/npy.h"

#include "schema/limits.h"

#include <inttypes.h>

static struct tensor *must(size_t len, struct codec_head head)
{
    static const size_t pieces[] = {1, 5, 64, BYTES_MAX};
    struct tensor *t = NULL;

    for (int i = 0; i < 8; i++) {
        struct payload p;
        struct err e;

        head.length_bytes = i & 1 ? (int64_t)len : -1;
        if (codecs_read(&codec_npy, &head, npy, len, pieces[i / 2], &p, &e) != 0)
            fail_msg("%.100s: %s", (char *)npy + 10, e.detail);
        if (t) {
            assert_int_equal(p.whole->dtype, t->dtype);
            assert_true(shape_equal(&p.whole->shape, &t->shape));
            assert_memory_equal(tensor_data(p.whole), tensor_data(t), t->size_bytes);
        } else {
            t = tensor_ref(p.whole);
        }
        payload_fini(&p);
    }
    return t;
}

static void expect_shape(const struct tensor *t, const char *want)
{
    char got[SHAPE_TEXT];

    assert_string_equal(shape_format(&t->shape, got, sizeof got), want);
}

/* ---- taken ---- */

static void every_version_is_read(void **state)
{
    (void)state;
    for (int version = 1; version <= 3; version++) {
        size_t len = make(version, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }\n",
                          118, "\1\0\2\0\3\0\4\0\5\0\6\0", 12);
        struct tensor *t = must(len, none());

        assert_int_equal(t->dtype, DTYPE_int16);
        expect_shape(t, "(2, 3)");
        assert_memory_equal(tensor_data(t), "\1\0\2\0\3\0\4\0\5\0\6\0", 12);
        tensor_unref(t);
    }
}

static void every_dtype_of_numpy_is_read_in_both_byte_orders(void **state)
{
    (void)state;
    for (int d = 0; d < DTYPE_COUNT; d++) {
        uint32_t size = dtypes[d].size_bytes;
        static const char orders[] = "<>|";

        if (!*dtypes[d].npy)
            continue;
        for (int o = 0; o < (size == 1 ? 3 : 2); o++) {
            uint8_t little[24], big[24];
            char dict[100];
            struct tensor *t;

            for (uint32_t i = 0; i < 3 * size; i++) {
                little[i] = d == DTYPE_bool ? i & 1 : (uint8_t)(i * 37 + 5);
                big[i / size * size + size - 1 - i % size] = little[i];
            }
            snprintf(dict, sizeof dict, "{'descr':'%c%s','fortran_order':False,'shape':(3,)}",
                     orders[o], dtypes[d].npy);
            t = must(make(1, dict, 0, orders[o] == '>' ? big : little, 3 * size), none());
            assert_int_equal(t->dtype, d);
            expect_shape(t, "(3,)");
            assert_memory_equal(tensor_data(t), little, 3 * size);
            tensor_unref(t);
        }
    }
}

static void a_header_may_be_written_in_other_ways(void **state)
{
    static const char *const dicts[] = {
        "{'descr':'<i2','fortran_order':False,'shape':()}",
        "{\"shape\": (), \"fortran_order\": True, \"descr\": \"<i2\"}   \n\n",
        " {\t'shape' :( ) ,\r\n'descr':'<i2', 'fortran_order':False ,} ",
    };

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct tensor *t = must(make(1, dicts[i], 0, "\7\0", 2), none());

        expect_shape(t, "()");
        assert_memory_equal(tensor_data(t), "\7\0", 2);
        tensor_unref(t);
    }
}

static void empty_tensors_are_read(void **state)
{
    struct tensor *t = must(
        make(1, "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 0, 2), }", 0, "", 0), none());

    (void)state;
    expect_shape(t, "(3, 0, 2)");
    assert_int_equal(t->size_bytes, 0);
    tensor_unref(t);
}

/* Against the definition: element (i0, i1, ...) lies at i0 + d0 (i1 + d1 (...)). */
static void fortran_order_becomes_c_order(void **state)
{
    static const struct shape shapes[] = {
        {1, {5}},       {2, {2, 3}},      {2, {1, 7}},       {2, {130, 67}},
        {3, {2, 3, 4}}, {3, {65, 2, 70}}, {4, {3, 1, 2, 5}}, {5, {2, 3, 2, 3, 2}},
    };
    static const enum dtype types[] = {DTYPE_uint8, DTYPE_uint16, DTYPE_uint32, DTYPE_uint64};
    static uint8_t data[9100 * 8];

    (void)state;
    for (size_t k = 0; k < 8 * sizeof shapes / sizeof shapes[0]; k++) {
        const struct shape *s = &shapes[k / 8];
        enum dtype d = types[k % 4];
        bool big = k % 8 >= 4;
        uint32_t size = dtypes[d].size_bytes;
        uint64_t count = shape_count(s);
        char dict[200], text[SHAPE_TEXT];
        struct tensor *t;

        for (uint64_t c = 0; c < count; c++) {
            uint64_t rest = c, at = 0, index[8];

            for (uint32_t a = s->ndim; a-- > 0; rest /= s->dim[a])
                index[a] = rest % s->dim[a];
            for (uint32_t a = s->ndim; a-- > 0;)
                at = at * s->dim[a] + index[a];
            for (uint32_t b = 0; b < size; b++)
                data[at * size + (big ? size - 1 - b : b)] = (uint8_t)((c + 1) >> 8 * b);
        }
        snprintf(dict, sizeof dict, "{'descr': '%c%s', 'fortran_order': True, 'shape': %s, }",
                 big ? '>' : '<', dtypes[d].npy, shape_format(s, text, sizeof text));
        t = must(make(1, dict, 0, data, count * size), none());
        for (uint64_t c = 0; c < count; c++) {
            uint64_t got = 0;

            memcpy(&got, tensor_data(t) + c * size, size);
            if (got != ((c + 1) & (size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1)))
                fail_msg("%s of %u bytes: element %" PRIu64 " is %" PRIu64, text, size, c, got);
        }
        tensor_unref(t);
    }
}

static void any_byte_but_zero_is_true(void **state)
{
    struct tensor *t = must(
        make(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }", 0, "\0\1\2\377", 4),
        none());

    (void)state;
    assert_memory_equal(tensor_data(t), "\0\1\1\1", 4);
    tensor_unref(t);
}

static void two_byte_elements_are_bfloat16_when_the_request_says_so(void **state)
{
    static const char *const descr[] = {"<u2", "|V2"};
    struct codec_head says = none();
    char dict[100];

    (void)state;
    says.has_dtype = true;
    says.dtype = DTYPE_bfloat16;
    for (int i = 0; i < 2; i++) {
        struct tensor *t;

        snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (2,), }",
                 descr[i]);
        t = must(make(1, dict, 0, "\x80\x3f\0\x40", 4), says);
        assert_int_equal(t->dtype, DTYPE_bfloat16);
        assert_memory_equal(tensor_data(t), "\x80\x3f\0\x40", 4);
        tensor_unref(t);
    }
    codecs_refuse(&codec_npy, none(), npy, make(1, dict, 0, "\0\0\0\0", 4), ERR_dtype_unsupported,
                  "dtype=bfloat16", "|V2");
    says.dtype = DTYPE_float16;
    codecs_refuse(&codec_npy, says, npy, make(1, dict, 0, "\0\0\0\0", 4), ERR_dtype_unsupported, "",
                  "|V2 as float16");
}

static void parameters_may_repeat_the_header_but_not_contradict_it(void **state)
{
    size_t len = make(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }", 0, "1234", 4);
    struct codec_head h = {.has_dtype = true,
                           .dtype = DTYPE_uint16,
                           .has_shape = true,
                           .shape = {.ndim = 1, .dim = {2}}};

    (void)state;
    tensor_unref(must(len, h));
    h.dtype = DTYPE_int16;
    codecs_refuse(&codec_npy, h, npy, len, ERR_conflicting_parameter, "dtype= says int16", "dtype");
    h.has_dtype = false;
    h.shape.dim[0] = 3;
    codecs_refuse(&codec_npy, h, npy, len, ERR_conflicting_parameter, "shape=", "shape");
}

/* ---- refused ---- */

static void what_is_no_npy_is_told_what_it_is(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *word;
    } rows[] = {
        {"", 0, "0 bytes"},
        {"\x93NUM", 4, "4 bytes"},
        {"\x93NUMP", 5, "5 bytes"},
        {"PK\3\4\0\0\0\0", 8, ".npz"},
        {"\x80\4\x95\0\0\0\0\0", 8, "pickle"},
        {"{\"inputs\":[1]}", 14, "NUMPY"},
        {"\x93numpy\1\0\0\0", 10, "NUMPY"},
        {"x", 1, "NUMPY"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        codecs_refuse(&codec_npy, none(), rows[i].bytes, rows[i].len, ERR_npy_bad_magic,
                      rows[i].word, rows[i].word);
}

static void an_unknown_version_is_refused(void **state)
{
    static const uint8_t versions[][2] = {{0, 0}, {4, 0}, {255, 255}, {1, 1}, {0, 1}};

    (void)state;
    for (int i = 0; i < 5; i++) {
        size_t len = make(1, "{}", 0, "", 0);

        npy[6] = versions[i][0];
        npy[7] = versions[i][1];
        codecs_refuse(&codec_npy, none(), npy, len, ERR_npy_version, "1.0, 2.0 and 3.0", "version");
    }
}

static void a_header_that_lies_about_its_length_costs_nothing(void **state)
{
    static const uint32_t lengths[] = {LIMIT_NPY_HEADER_BYTES + 1, 1u << 30, UINT32_MAX};
    struct codec_head h = {.length_bytes = 100};
    struct payload p;
    struct err e;
    size_t len;

    (void)state;
    for (int i = 0; i < 3; i++) {
        len = make(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 0, "1234", 4);
        for (int b = 0; b < 4; b++)
            npy[8 + b] = (uint8_t)(lengths[i] >> 8 * b);
        codecs_refuse(&codec_npy, none(), npy, len, ERR_npy_header, "at most 65536", "length");
    }
    len = make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 0, "1234", 4);
    npy[9] = 0x10;
    codecs_refuse(&codec_npy, none(), npy, len, ERR_npy_header, "header", "beyond the body");
    h.length_bytes = (int64_t)len;
    assert_int_equal(codecs_read(&codec_npy, &h, npy, 10, 10, &p, &e), -1);
    assert_non_null(strstr(e.detail, "more than the body"));
}

static void a_header_as_long_as_is_allowed_is_read(void **state)
{
    static const char dict[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (), }";

    (void)state;
    tensor_unref(must(make(2, dict, LIMIT_NPY_HEADER_BYTES, "1234", 4), none()));
    codecs_refuse(&codec_npy, none(), npy, make(2, dict, LIMIT_NPY_HEADER_BYTES + 1, "1234", 4),
                  ERR_npy_header, "at most", "one byte more");
}

static void data_must_be_as_long_as_the_shape_says(void **state)
{
    static const char dict[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
    static const uint8_t data[16];
    struct codec_head h = none();
    struct payload p;
    struct err e;
    size_t len;

    (void)state;
    codecs_refuse(&codec_npy, none(), npy, make(1, dict, 0, data, 11), ERR_truncated, "12", "11");
    codecs_refuse(&codec_npy, none(), npy, make(1, dict, 0, data, 0), ERR_truncated, "12", "0");
    codecs_refuse(&codec_npy, none(), npy, make(1, dict, 0, data, 13), ERR_trailing_bytes, "12",
                  "13");
    len = make(1, dict, 0, data, 12);
    for (size_t n = 8; n < len; n++) /* every beginning */
        assert_int_equal(codecs_read(&codec_npy, &h, npy, n, n, &p, &e), -1);
}

static void bytes_past_the_end_touch_nobody_elses(void **state)
{
    static const uint8_t data[64];
    struct codec_head h = none();
    size_t len = make(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (64,), }", 0, data, 64);

    (void)state;
    codecs_overrun(&codec_npy, &h, npy, len);
}

/* A chunked body cannot be refused beforehand, but it is before its data. */
static void a_full_arena_is_told_as_soon_as_the_size_is_known(void **state)
{
    struct codec_head h = {.length_bytes = (int64_t)CODECS_ARENA + 100};
    struct err e;
    void *s = NULL;
    size_t len = make(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (67108864,), }", 0, "",
                      0);
    struct payload p;

    (void)state;
    assert_int_equal(codec_npy.begin(&s, &h, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    h.length_bytes = -1;
    assert_int_equal(codecs_read(&codec_npy, &h, npy, len, len, &p, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    assert_int_equal(e.asked_bytes, 67108864);
    h.length_bytes = (int64_t)(len + 67108864); /* what is reserved is no more than the data */
    assert_int_equal(codec_npy.begin(&s, &h, &e), -1);
    assert_true(e.asked_bytes >= 67108864 && e.asked_bytes < 67108864 + len);
}

static void what_the_header_takes_is_given_back(void **state)
{
    static const char dict[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (64,), }";
    size_t len = make(2, dict, 60000, npy + 100000, 64);
    struct codec_head h = {.length_bytes = (int64_t)len};
    struct extent_usage u;
    struct payload p;
    struct err e;

    (void)state;
    assert_int_equal(codecs_read(&codec_npy, &h, npy, len, 100, &p, &e), 0);
    extent_usage(&u);
    assert_int_equal(u.used_bytes, 64);
    payload_fini(&p);
}

/* ---- written ---- */

static void what_is_written_reads_back(void **state)
{
    struct shape s = {.ndim = LIMIT_NDIM};

    (void)state;
    for (int i = 0; i < LIMIT_NDIM; i++)
        s.dim[i] = i % 8 == 0 ? 3 : 1;
    for (int d = 0; d < DTYPE_COUNT; d++) {
        struct tensor *t = codecs_tensor((enum dtype)d, &s), *back;
        struct parts p;
        struct err e;
        uint8_t *all;

        if (d == DTYPE_bfloat16) {
            tensor_unref(t);
            continue;
        }
        assert_int_equal(codec_npy.write(&(struct codec_out){.n = 1, .t = &t}, &p, &e), 0);
        assert_ptr_equal(p.part[1].bytes, tensor_data(t)); /* from the arena */
        all = codecs_join(&p);
        assert_true(p.total_bytes <= sizeof npy);
        memcpy(npy, all, p.total_bytes);
        back = must(p.total_bytes, none());
        assert_int_equal(back->dtype, d);
        assert_true(shape_equal(&back->shape, &s));
        assert_memory_equal(tensor_data(back), tensor_data(t), t->size_bytes);
        free(all);
        parts_fini(&p);
        tensor_unref(t);
        tensor_unref(back);
    }
}

static void outputs_that_are_no_stack_are_not_acceptable(void **state)
{
    struct shape s = {.ndim = 1, .dim = {2}}, other = {.ndim = 2, .dim = {1, 2}};
    struct tensor *a = codecs_tensor(DTYPE_int8, &s), *b = codecs_tensor(DTYPE_int8, &other);
    struct tensor *gap[] = {a, NULL}, *differ[] = {a, b};
    struct parts p = {0};
    struct err e;

    (void)state;
    assert_int_equal(
        codec_npy.write(&(struct codec_out){.n = 2, .t = gap, .stacked = true}, &p, &e), -1);
    assert_int_equal(e.code, ERR_not_acceptable);
    assert_non_null(strstr(e.detail, "rank 1"));
    assert_int_equal(
        codec_npy.write(&(struct codec_out){.n = 2, .t = differ, .stacked = true}, &p, &e), -1);
    assert_int_equal(e.code, ERR_not_acceptable);
    assert_non_null(strstr(e.detail, "safetensors or json"));
    tensor_unref(a);
    tensor_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CODEC_TEST(every_version_is_read),
        CODEC_TEST(every_dtype_of_numpy_is_read_in_both_byte_orders),
        CODEC_TEST(a_header_may_be_written_in_other_ways),
        CODEC_TEST(empty_tensors_are_read),
        CODEC_TEST(fortran_order_becomes_c_order),
        CODEC_TEST(any_byte_but_zero_is_true),
        CODEC_TEST(two_byte_elements_are_bfloat16_when_the_request_says_so),
        CODEC_TEST(parameters_may_repeat_the_header_but_not_contradict_it),
        CODEC_TEST(what_is_no_npy_is_told_what_it_is),
        CODEC_TEST(an_unknown_version_is_refused),
        CODEC_TEST(a_header_that_lies_about_its_length_costs_nothing),
        CODEC_TEST(a_header_as_long_as_is_allowed_is_read),
        CODEC_TEST(data_must_be_as_long_as_the_shape_says),
        CODEC_TEST(a_full_arena_is_told_as_soon_as_the_size_is_known),
        CODEC_TEST(what_the_header_takes_is_given_back),
        CODEC_TEST(what_is_written_reads_back),
        CODEC_TEST(outputs_that_are_no_stack_are_not_acceptable),
        CODEC_TEST(bytes_past_the_end_touch_nobody_elses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
