/* test_codec_json_size.c - rules of large and hostile JSON tensors, of writing them, of stacks. */
#include "tests/unit/codecs_json.h"

static void a_full_arena_is_told_before_a_number_is_read(void **state)
{
    size_t n = (CODECS_ARENA / 8) + 1;
    char *text = malloc(2 * n + 2);
    struct json_span doc;
    struct tensor *t;
    struct err e;
    bool named;

    (void)state;
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, i ? ",0" : "[0", 2);
    text[2 * n] = ']';
    assert_int_equal(json_check(text, 2 * n + 1, &doc, &e), 0);
    assert_int_equal(json_tensor_read(&doc, DTYPE_float64, IN, NULL, &t, &named, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    assert_int_equal(e.asked_bytes, 8 * n);
    free(text);
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* A tree would take from 43 to 77 bytes for each byte of these. */
static void six_mebibytes_of_empty_containers_cost_no_memory(void **state)
{
    static const char *const pieces[] = {"{},", "[[]],", "[],", "\"\",", "[0],"};
    static const int taken[] = {0, 1, 1, 0, 1};

    (void)state;
    for (int i = 0; i < 5; i++) {
        size_t size = strlen(pieces[i]), n = (6u << 20) / size;
        char *text = malloc(n * size + 2), *p = text;
        struct json_span doc;
        struct tensor *t = NULL;
        struct err e;
        bool named;
        long before;

        *p++ = '[';
        for (size_t k = 0; k < n; k++, p += size)
            memcpy(p, pieces[i], size);
        p[-1] = ']';
        before = resident_kib();
        assert_int_equal(json_check(text, (size_t)(p - text), &doc, &e), 0);
        assert_int_equal(json_tensor_read(&doc, DTYPE_uint8, IN, NULL, &t, &named, &e) == 0,
                         taken[i]);
        assert_true(resident_kib() - before < 8 * 1024);
        tensor_unref(t);
        free(text);
    }
}

/* ---- writing ---- */

static void any_shape_comes_back_as_it_went(void **state)
{
    uint64_t r = 3;

    (void)state;
    for (int i = 0; i < 300; i++) {
        struct shape s = {.ndim = (uint32_t)i % 6};
        enum dtype d = i % 2 ? DTYPE_uint16 : DTYPE_int64;
        struct tensor *t, *back;
        struct text out;

        for (uint32_t k = 0; k < s.ndim; k++)
            s.dim[k] = 1 + ((r = r * 6364136223846793005ull + 1442695040888963407ull) >> 33) % 5;
        t = codecs_tensor(d, &s);
        text_init(&out);
        text_array(&out, NULL);
        for (int k = 0; k < 2; k++) {
            text_name(&out, NULL);
            json_tensor_write(&out, t);
        }
        text_end_array(&out);
        back = must(out.data, d);
        assert_int_equal(back->shape.dim[0], 2);
        assert_int_equal(back->shape.ndim, s.ndim + 1);
        assert_memory_equal(back->shape.dim + 1, s.dim, s.ndim * sizeof s.dim[0]);
        assert_memory_equal(tensor_data(back) + t->size_bytes, tensor_data(t), t->size_bytes);
        text_fini(&out);
        tensor_unref(t);
        tensor_unref(back);
    }
}

static void a_large_tensor_is_written_whole(void **state)
{
    struct shape s = {.ndim = 2, .dim = {300, 1000}};
    struct tensor *t = codecs_tensor(DTYPE_float64, &s), *back;
    struct text out;

    (void)state;
    for (uint64_t i = 0; i < 300000; i++)
        ((double *)(void *)tensor_data(t))[i] = -1.0 / (double)(i + 3) * 1e-200;
    text_init(&out);
    json_tensor_write(&out, t);
    back = must(out.data, DTYPE_float64);
    assert_memory_equal(tensor_data(back), tensor_data(t), t->size_bytes);
    text_fini(&out);
    tensor_unref(t);
    tensor_unref(back);
}

static void empty_lists_count_as_elements_that_are_shown(void **state)
{
    static const struct {
        struct shape shape;
        uint64_t shown;
    } rows[] = {
        {{.ndim = 0}, 1},
        {{.ndim = 2, .dim = {3, 4}}, 12},
        {{.ndim = 1, .dim = {0}}, 1},
        {{.ndim = 3, .dim = {2, 3, 0}}, 6},
        {{.ndim = 3, .dim = {2, 0, 3}}, 2},
        {{.ndim = 2, .dim = {1ull << 50, 0}}, 1ull << 50},
        {{.ndim = 2, .dim = {1ull << 60, 0}}, 1ull << 50},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(json_tensor_elements(&rows[i].shape), rows[i].shown);
}

static void expect_json(const struct codec_out *what, const char *want)
{
    struct parts p;
    struct err e;
    uint8_t *all;

    assert_int_equal(codec_json.write(what, &p, &e), 0);
    all = codecs_join(&p);
    assert_string_equal((char *)all, want);
    free(all);
    parts_fini(&p);
    parts_fini(&p);
}

static void outputs_are_objects_and_null_where_a_rank_has_nothing(void **state)
{
    struct tensor *a = must("[[1,2]]", DTYPE_int8), *b = must("true", DTYPE_bool);
    struct tensor *all[] = {a, NULL, b}, *none[] = {NULL};

    (void)state;
    expect_json(&(struct codec_out){.n = 1, .t = all},
                "{\"dtype\":\"int8\",\"shape\":[1,2],\"data\":[[1,2]]}\n");
    expect_json(&(struct codec_out){.n = 3, .t = all, .stacked = true},
                "[{\"dtype\":\"int8\",\"shape\":[1,2],\"data\":[[1,2]]},null,"
                "{\"dtype\":\"bool\",\"shape\":[],\"data\":true}]\n");
    expect_json(&(struct codec_out){.n = 1, .t = none}, "null\n");
    tensor_unref(a);
    tensor_unref(b);
}

/* ---- stacks ---- */

static void a_stack_is_split_along_its_first_axis_without_a_copy(void **state)
{
    struct shape s = {.ndim = 3, .dim = {4, 2, 3}};
    struct tensor *stack = codecs_tensor(DTYPE_int16, &s), *part[4];
    struct err e;

    (void)state;
    assert_int_equal(payload_split(stack, 4, part, &e), 0);
    for (int r = 0; r < 4; r++) {
        expect_shape(part[r], "(2, 3)");
        assert_ptr_equal(tensor_data(part[r]), tensor_data(stack) + r * 12);
        tensor_unref(part[r]);
    }
    assert_int_equal(payload_split(stack, 3, part, &e), -1);
    assert_int_equal(e.code, ERR_stack_mismatch);
    assert_non_null(strstr(e.detail, "length 4, but the group has 3 ranks"));
    tensor_unref(stack);
    s = (struct shape){.ndim = 0};
    stack = codecs_tensor(DTYPE_int16, &s);
    assert_int_equal(payload_split(stack, 1, part, &e), -1);
    assert_int_equal(e.code, ERR_stack_mismatch);
    tensor_unref(stack);
    s = (struct shape){.ndim = 1, .dim = {2}};
    stack = codecs_tensor(DTYPE_bool, &s);
    assert_int_equal(payload_split(stack, 2, part, &e), 0);
    expect_shape(part[1], "()");
    tensor_unref(part[0]);
    tensor_unref(part[1]);
    tensor_unref(stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CODEC_TEST(a_full_arena_is_told_before_a_number_is_read),
        CODEC_TEST(six_mebibytes_of_empty_containers_cost_no_memory),
        CODEC_TEST(any_shape_comes_back_as_it_went),
        CODEC_TEST(a_large_tensor_is_written_whole),
        CODEC_TEST(empty_lists_count_as_elements_that_are_shown),
        CODEC_TEST(outputs_are_objects_and_null_where_a_rank_has_nothing),
        CODEC_TEST(a_stack_is_split_along_its_first_axis_without_a_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
