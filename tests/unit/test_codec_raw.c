/* test_codec_raw.c - rules of raw bytes. */
#include "tests/unit/codecs.h"

static struct codec_head head_of(enum dtype d, struct shape s)
{
    return (struct codec_head){.has_dtype = true, .dtype = d, .has_shape = true, .shape = s};
}

static void bytes_become_a_tensor_of_the_shape_and_dtype_asked_for(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    struct codec_head h = head_of(DTYPE_uint16, (struct shape){.ndim = 2, .dim = {2, 3}});

    (void)state;
    for (size_t piece = 1; piece <= 12; piece++) {
        struct payload p;
        struct err e;

        h.length_bytes = piece % 2 ? 12 : -1;
        assert_int_equal(codecs_read(&codec_raw, &h, bytes, 12, piece, &p, &e), 0);
        assert_int_equal(p.whole->dtype, DTYPE_uint16);
        assert_true(shape_equal(&p.whole->shape, &h.shape));
        assert_memory_equal(tensor_data(p.whole), bytes, 12);
        payload_fini(&p);
        payload_fini(&p);
        assert_int_equal(live_extents(), 0);
    }
}

static void scalars_and_empty_tensors_are_tensors(void **state)
{
    struct codec_head h = head_of(DTYPE_int8, (struct shape){.ndim = 0});
    struct payload p;
    struct err e;

    (void)state;
    h.length_bytes = 1;
    assert_int_equal(codecs_read(&codec_raw, &h, "\7", 1, 1, &p, &e), 0);
    assert_int_equal(p.whole->shape.ndim, 0);
    payload_fini(&p);
    h = head_of(DTYPE_float64, (struct shape){.ndim = 2, .dim = {0, 3}});
    h.length_bytes = -1;
    assert_int_equal(codecs_read(&codec_raw, &h, "", 0, 1, &p, &e), 0);
    assert_int_equal(p.whole->size_bytes, 0);
    payload_fini(&p);
}

static void dtype_and_shape_must_be_said(void **state)
{
    struct codec_head h = {.length_bytes = 4, .has_shape = true};
    struct err e;
    void *s = NULL;

    (void)state;
    assert_int_equal(codec_raw.begin(&s, &h, &e), -1);
    assert_int_equal(e.code, ERR_missing_parameter);
    assert_string_equal(e.pointer, "/dtype");
    h = (struct codec_head){.length_bytes = 4, .has_dtype = true};
    assert_int_equal(codec_raw.begin(&s, &h, &e), -1);
    assert_int_equal(e.code, ERR_missing_parameter);
    assert_string_equal(e.pointer, "/shape");
}

static void a_wrong_length_is_refused_before_a_byte_comes(void **state)
{
    struct codec_head h = head_of(DTYPE_float32, (struct shape){.ndim = 1, .dim = {3}});
    struct err e;
    void *s = NULL;

    (void)state;
    for (int off = -1; off <= 1; off += 2) {
        h.length_bytes = 12 + off;
        assert_int_equal(codec_raw.begin(&s, &h, &e), -1);
        assert_int_equal(e.code, ERR_size_mismatch);
        assert_non_null(strstr(e.detail, "takes 12 bytes"));
        assert_non_null(strstr(e.detail, off < 0 ? "has 11" : "has 13"));
    }
    h = head_of(DTYPE_float32, (struct shape){.ndim = 2, .dim = {1ull << 40, 1ull << 40}});
    h.length_bytes = 0;
    assert_int_equal(codec_raw.begin(&s, &h, &e), -1);
    assert_int_equal(e.code, ERR_shape_too_large);
    h = head_of(DTYPE_uint8, (struct shape){.ndim = 1, .dim = {CODECS_ARENA}});
    h.length_bytes = -1;
    assert_int_equal(codec_raw.begin(&s, &h, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    codec_raw.drop(NULL);
}

static void a_chunked_body_is_counted(void **state)
{
    struct codec_head h = head_of(DTYPE_uint8, (struct shape){.ndim = 1, .dim = {3}});

    (void)state;
    h.length_bytes = -1;
    for (size_t piece = 1; piece < 5; piece++) {
        struct payload p;
        struct err e;

        assert_int_equal(codecs_read(&codec_raw, &h, "abcd", 4, piece, &p, &e), -1);
        assert_int_equal(e.code, ERR_size_mismatch);
        assert_int_equal(codecs_read(&codec_raw, &h, "ab", 2, piece, &p, &e), -1);
        assert_int_equal(e.code, ERR_size_mismatch);
        assert_int_equal(live_extents(), 0);
    }
}

static void bytes_past_the_end_touch_nobody_elses(void **state)
{
    struct codec_head h = head_of(DTYPE_uint8, (struct shape){.ndim = 1, .dim = {64}});
    static const uint8_t bytes[64];

    (void)state;
    h.length_bytes = -1;
    codecs_overrun(&codec_raw, &h, bytes, 64);
    h.length_bytes = 64;
    codecs_overrun(&codec_raw, &h, bytes, 64);
}

static void any_byte_but_zero_is_true(void **state)
{
    struct codec_head h = head_of(DTYPE_bool, (struct shape){.ndim = 1, .dim = {4}});
    struct payload p;
    struct err e;

    (void)state;
    h.length_bytes = 4;
    assert_int_equal(codecs_read(&codec_raw, &h, "\0\1\2\377", 4, 4, &p, &e), 0);
    assert_memory_equal(tensor_data(p.whole), "\0\1\1\1", 4);
    payload_fini(&p);
}

static void outputs_are_written_one_after_another_from_the_arena(void **state)
{
    struct shape s = {.ndim = 1, .dim = {3}}, other = {.ndim = 1, .dim = {2}};
    struct tensor *a = codecs_tensor(DTYPE_int32, &s), *b = codecs_tensor(DTYPE_int32, &other);
    struct tensor *same[] = {a, a}, *differ[] = {a, b}, *gap[] = {NULL, a};
    struct codec_out what = {.n = 2, .t = same, .stacked = true};
    struct parts p = {0};
    struct err e;

    (void)state;
    assert_int_equal(codec_raw.write(&what, &p, &e), 0);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.total_bytes, 24);
    assert_ptr_equal(p.part[0].bytes, tensor_data(a));
    assert_ptr_equal(p.part[1].bytes, tensor_data(a));
    tensor_unref(a); /* the parts hold it */
    assert_int_equal(live_extents(), 2);
    what.t = differ;
    parts_fini(&p);
    assert_int_equal(live_extents(), 1);
    a = differ[0] = gap[1] = codecs_tensor(DTYPE_int32, &s);
    assert_int_equal(codec_raw.write(&what, &p, &e), -1);
    assert_int_equal(e.code, ERR_not_acceptable);
    assert_non_null(strstr(e.detail, "safetensors"));
    what.t = gap;
    assert_int_equal(codec_raw.write(&what, &p, &e), -1);
    assert_int_equal(e.code, ERR_not_acceptable);
    assert_non_null(strstr(e.detail, "safetensors or json"));
    tensor_unref(a);
    tensor_unref(b);
}

static void a_lost_output_is_gone_but_an_empty_one_is_not(void **state)
{
    struct shape s = {.ndim = 1, .dim = {3}}, none = {.ndim = 1, .dim = {0}};
    struct tensor *lost = tensor_new(DTYPE_int32, &s, NULL, 0);
    struct tensor *empty = tensor_new(DTYPE_int32, &none, NULL, 0);
    struct parts p = {0};
    struct err e;

    (void)state;
    for (int f = 0; f < FORMAT_COUNT; f++) {
        const struct codec *c = codec_of((enum format)f);

        assert_int_equal(c->format, f);
        assert_int_equal(c->write(&(struct codec_out){.n = 1, .t = &lost}, &p, &e), -1);
        assert_int_equal(e.code, ERR_tensor_lost);
        assert_int_equal(c->write(&(struct codec_out){.n = 1, .t = &empty}, &p, &e), 0);
        parts_fini(&p);
    }
    tensor_unref(lost);
    tensor_unref(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CODEC_TEST(bytes_become_a_tensor_of_the_shape_and_dtype_asked_for),
        CODEC_TEST(scalars_and_empty_tensors_are_tensors),
        CODEC_TEST(dtype_and_shape_must_be_said),
        CODEC_TEST(a_wrong_length_is_refused_before_a_byte_comes),
        CODEC_TEST(a_chunked_body_is_counted),
        CODEC_TEST(any_byte_but_zero_is_true),
        CODEC_TEST(outputs_are_written_one_after_another_from_the_arena),
        CODEC_TEST(a_lost_output_is_gone_but_an_empty_one_is_not),
        CODEC_TEST(bytes_past_the_end_touch_nobody_elses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
