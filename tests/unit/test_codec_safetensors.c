/* test_codec_safetensors.c - rules of safetensors bodies. */
#include "tests/unit/codecs.h"

#include "schema/clock.h"
#include "schema/limits.h"

static uint8_t body[LIMIT_SAFETENSORS_HEADER_BYTES + 4096];

/* Length, header, data. Returns the body's length. */
static size_t make_of(const char *header, size_t len, const void *data, size_t data_len)
{
    assert_true(8 + len + data_len <= sizeof body);
    for (int i = 0; i < 8; i++)
        body[i] = (uint8_t)((uint64_t)len >> 8 * i);
    memcpy(body + 8, header, len);
    memcpy(body + 8 + len, data, data_len);
    return 8 + len + data_len;
}

static size_t make(const char *header, const void *data, size_t data_len)
{
    return make_of(header, strlen(header), data, data_len);
}

static struct codec_head none(void)
{
    return (struct codec_head){.length_bytes = -1};
}

static void must(size_t len, bool chunked, size_t piece, struct payload *p)
{
    struct codec_head h = {.length_bytes = chunked ? -1 : (int64_t)len};
    struct err e;

    if (codecs_read(&codec_safetensors, &h, body, len, piece, p, &e) != 0)
        fail_msg("%.200s: %s: %s", (char *)body + 8, err_name(e.code), e.detail);
}

static const struct payload_item *item(const struct payload *p, const char *name)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (strcmp(p->items[i].name, name) == 0)
            return &p->items[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void refuse(const char *header, size_t data_len, enum err_code code, const char *word)
{
    static const uint8_t data[256];

    codecs_refuse(&codec_safetensors, none(), body, make(header, data, data_len), code, word,
                  header);
}

#define ENTRY(name, dtype, shape, from, to)                                                        \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]" \
    "}"

/* ---- taken ---- */

static void tensors_lie_at_their_offsets_in_one_extent(void **state)
{
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\"}," ENTRY(
        "1", "I16", "[2]", "3", "7") "," ENTRY("0", "U8", "[3,1]", "0",
                                               "3") "," ENTRY("3", "BOOL", "[]", "7", "8") "}   ";
    size_t len = make(header, "\1\2\3\4\0\5\0\2", 8);

    (void)state;
    for (size_t piece = 1; piece < len; piece += 13) {
        struct payload p;
        const struct payload_item *a, *b, *c;

        must(len, piece % 2, piece, &p);
        assert_null(p.whole);
        assert_int_equal(p.n, 3);
        assert_int_equal(live_extents(), 1);
        a = item(&p, "0");
        b = item(&p, "1");
        c = item(&p, "3");
        assert_int_equal(a->tensor->dtype, DTYPE_uint8);
        assert_int_equal(a->tensor->shape.ndim, 2);
        assert_memory_equal(tensor_data(a->tensor), "\1\2\3", 3);
        assert_memory_equal(tensor_data(b->tensor), "\4\0\5\0", 4);
        assert_ptr_equal(tensor_data(b->tensor), tensor_data(a->tensor) + 3);
        assert_int_equal(c->tensor->shape.ndim, 0);
        assert_int_equal(*tensor_data(c->tensor), 1); /* normalised */
        payload_fini(&p);
        assert_int_equal(live_extents(), 0);
    }
}

static void every_dtype_is_known_by_its_name(void **state)
{
    (void)state;
    for (int d = 0; d < DTYPE_COUNT; d++) {
        static const uint8_t data[8];
        char header[100];
        struct payload p;

        snprintf(header, sizeof header,
                 "{\"0\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[0,%u]}}",
                 dtypes[d].safetensors, dtypes[d].size_bytes);
        must(make(header, data, dtypes[d].size_bytes), false, 9, &p);
        assert_int_equal(p.items[0].tensor->dtype, d);
        payload_fini(&p);
    }
}

static void empty_tensors_share_a_place(void **state)
{
    struct payload p;

    (void)state;
    must(make("{" ENTRY("2", "F32", "[1]", "0", "4") "," ENTRY(
                  "1", "F32", "[0]", "0", "0") "," ENTRY("0", "F32", "[2,0]", "4", "4") "}",
              "1234", 4),
         false, 100, &p);
    assert_int_equal(p.n, 3);
    payload_fini(&p);
    must(make("{}", "", 0), true, 100, &p);
    assert_int_equal(p.n, 0);
    payload_fini(&p);
    must(make("{" ENTRY("0", "F32", "[0]", "0", "0") "}", "", 0), false, 100, &p);
    payload_fini(&p);
}

/* ---- refused ---- */

static void a_length_that_cannot_be_is_refused(void **state)
{
    static const uint64_t lengths[] = {0, 11, 1u << 30, UINT64_MAX,
                                       LIMIT_SAFETENSORS_HEADER_BYTES + 1};

    (void)state;
    for (size_t n = 0; n < 8; n++)
        codecs_refuse(&codec_safetensors, none(), "\2\0\0\0\0\0\0", n < 7 ? n : 7,
                      ERR_bad_safetensors, "", "under 8 bytes");
    for (int i = 0; i < 5; i++) {
        size_t len = make("{}        ", "", 0);

        for (int b = 0; b < 8; b++)
            body[b] = (uint8_t)(lengths[i] >> 8 * b);
        codecs_refuse(&codec_safetensors, none(), body, len, ERR_bad_safetensors, "header",
                      "length");
    }
}

static void a_header_that_is_no_json_object_is_refused(void **state)
{
    (void)state;
    refuse("[]", 0, ERR_bad_safetensors, "begin with {");
    refuse(" {}", 0, ERR_bad_safetensors, "begin with {");
    refuse("\"{}\"", 0, ERR_bad_safetensors, "begin with {");
    refuse("{", 0, ERR_bad_safetensors, "not JSON");
    refuse("{\"a\":}", 0, ERR_bad_safetensors, "line 1, column 6");
    refuse("{} x", 0, ERR_bad_safetensors, "follows");
    refuse("{\"\xff\":1}", 0, ERR_bad_safetensors, "UTF-8");
    refuse("{\"0\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 0,
           ERR_bad_safetensors, "deep");
    refuse("{" ENTRY("0", "U8", "[]", "0", "1") "," ENTRY("0", "U8", "[]", "1", "2") "}", 2,
           ERR_duplicate_member, "\"0\"");
}

static void an_entry_says_dtype_shape_and_offsets_and_no_more(void **state)
{
    static const char *const entries[] = {
        "1",
        "null",
        "[]",
        "\"x\"",
        "{}",
        "{\"dtype\":\"U8\",\"shape\":[1]}",
        "{\"dtype\":\"U8\",\"data_offsets\":[0,1]}",
        "{\"shape\":[1],\"data_offsets\":[0,1]}",
        "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}",
        "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1,\"y\":2}",
        "{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}",
        "{\"dtype\":\"U8\",\"shape\":[1],\"offsets\":[0,1]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        char header[200];

        snprintf(header, sizeof header, "{\"7\":%s}", entries[i]);
        refuse(header, 1, ERR_bad_safetensors, "tensor \"7\"");
    }
}

static void metadata_is_an_object_of_strings(void **state)
{
    (void)state;
    refuse("{\"__metadata__\":{\"a\":1}}", 0, ERR_bad_safetensors, "__metadata__");
    refuse("{\"__metadata__\":{\"a\":\"b\",\"c\":null}}", 0, ERR_bad_safetensors, "__metadata__");
    refuse("{\"__metadata__\":[]}", 0, ERR_bad_safetensors, "__metadata__");
    refuse("{\"__metadata__\":\"x\"}", 0, ERR_bad_safetensors, "__metadata__");
}

static void dtypes_of_others_are_refused_by_name(void **state)
{
    static const char *const names[] = {"\"F8_E4M3\"", "\"C64\"", "\"f32\"",    "\"\"",
                                        "7",           "null",    "\"float32\""};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char header[120];

        snprintf(header, sizeof header,
                 "{\"0\":{\"dtype\":%s,\"shape\":[1],\"data_offsets\":[0,1]}}", names[i]);
        refuse(header, 1, ERR_dtype_unsupported, names[i]);
    }
}

static void offsets_cover_the_data_without_hole_or_overlap(void **state)
{
    (void)state;
    refuse("{" ENTRY("0", "U8", "[1]", "1", "0") "}", 1, ERR_bad_offsets, "\"0\"");
    refuse("{" ENTRY("0", "U8", "[1]", "-1", "0") "}", 1, ERR_bad_offsets, "\"0\"");
    refuse("{" ENTRY("0", "U8", "[1]", "0.5", "1.5") "}", 1, ERR_bad_offsets, "\"0\"");
    refuse("{" ENTRY("0", "U8", "[1]", "\"0\"", "1") "}", 1, ERR_bad_offsets, "\"0\"");
    refuse("{\"0\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, ERR_bad_offsets,
           "\"0\"");
    refuse("{\"0\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, ERR_bad_offsets,
           "\"0\"");
    refuse("{\"0\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":1}}", 1, ERR_bad_offsets,
           "\"0\"");
    refuse("{" ENTRY("0", "U8", "[2]", "0", "2") "," ENTRY("1", "U8", "[2]", "1", "3") "}", 3,
           ERR_bad_offsets, "\"1\"");
    refuse("{" ENTRY("0", "U8", "[2]", "0", "2") "," ENTRY("1", "U8", "[2]", "0", "2") "}", 2,
           ERR_bad_offsets, "");
    refuse("{" ENTRY("0", "U8", "[2]", "0", "2") "," ENTRY("1", "U8", "[1]", "3", "4") "}", 4,
           ERR_bad_offsets, "\"1\" begins at 3");
    refuse("{" ENTRY("0", "U8", "[1]", "1", "2") "}", 2, ERR_bad_offsets, "begins at 1");
    refuse("{" ENTRY("0", "U8", "[2]", "0", "2") "," ENTRY("1", "U8", "[0]", "1", "1") "}", 2,
           ERR_bad_offsets, "\"1\"");
}

static void offsets_span_what_the_shape_takes(void **state)
{
    (void)state;
    refuse("{" ENTRY("0", "F32", "[2]", "0", "7") "}", 7, ERR_body_mismatch, "takes 8 bytes");
    refuse("{" ENTRY("0", "F32", "[2]", "0", "9") "}", 9, ERR_body_mismatch, "span 9");
    refuse("{" ENTRY("0", "F32", "[0]", "0", "4") "}", 4, ERR_body_mismatch, "takes 0 bytes");
    refuse("{" ENTRY("0", "I8", "[4194305,4194305,211106198978564]", "0", "4") "}", 4,
           ERR_shape_too_large, "2^63-1");
    refuse("{" ENTRY("0", "I8", "[0,18446744073709551615]", "0", "0") "}", 0, ERR_shape_too_large,
           "");
    refuse("{" ENTRY("0", "I8", "[-1]", "0", "1") "}", 1, ERR_shape_invalid, "");
    refuse("{" ENTRY("0", "I8", "2", "0", "2") "}", 2, ERR_shape_invalid, "");
    refuse("{" ENTRY("0", "I8",
                     "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "0",
                     "1") "}",
           1, ERR_shape_invalid, "32");
}

static void the_data_ends_with_its_last_tensor(void **state)
{
    static const char header[] = "{" ENTRY("0", "U8", "[4]", "0", "4") "}";
    struct codec_head h = none();
    struct payload p;
    struct err e;
    size_t len;

    (void)state;
    refuse(header, 5, ERR_trailing_bytes, "");
    refuse("{}", 1, ERR_trailing_bytes, "");
    len = make(header, "123", 3);
    assert_int_equal(codecs_read(&codec_safetensors, &h, body, len, 5, &p, &e), -1);
    assert_int_equal(e.code, ERR_truncated);
    h.length_bytes = (int64_t)len; /* known beforehand: the offsets are what is wrong */
    assert_int_equal(codecs_read(&codec_safetensors, &h, body, len, 5, &p, &e), -1);
    assert_int_equal(e.code, ERR_bad_offsets);
    h.length_bytes = -1;
    for (size_t n = 0; n < len; n++)
        assert_int_equal(codecs_read(&codec_safetensors, &h, body, n, n + 1, &p, &e), -1);
}

static void bytes_past_the_end_touch_nobody_elses(void **state)
{
    static const uint8_t data[64];
    struct codec_head h = none();
    size_t len = make("{" ENTRY("0", "U8", "[64]", "0", "64") "}", data, 64);

    (void)state;
    codecs_overrun(&codec_safetensors, &h, body, len);
}

static void parameters_do_not_contradict_the_header(void **state)
{
    size_t len = make("{" ENTRY("0", "U8", "[4]", "0", "4") "}", "1234", 4);
    struct codec_head h = {.has_dtype = true, .dtype = DTYPE_uint8};
    struct payload p;
    struct err e;

    (void)state;
    h.length_bytes = (int64_t)len;
    assert_int_equal(codecs_read(&codec_safetensors, &h, body, len, 100, &p, &e), 0);
    payload_fini(&p);
    h.dtype = DTYPE_int8;
    codecs_refuse(&codec_safetensors, h, body, len, ERR_conflicting_parameter, "dtype= says int8",
                  "dtype");
    h.has_dtype = false;
    h.has_shape = true;
    codecs_refuse(&codec_safetensors, h, body, len, ERR_conflicting_parameter, "shape=", "shape");
}

/* n one-byte tensors, names of their own. Returns the header's length. */
static size_t many(char *out, uint32_t n)
{
    char *p = out;

    for (uint32_t i = 0; i < n; i++)
        p += sprintf(p, "%c\"%u\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[%u,%u]}",
                     i ? ',' : '{', i, i, i + 1);
    *p++ = '}';
    return (size_t)(p - out);
}

static void there_are_at_most_as_many_tensors_as_ranks_may_be(void **state)
{
    char *header = malloc(LIMIT_SAFETENSORS_HEADER_BYTES);
    static uint8_t data[2048];
    struct payload p;
    uint64_t start;
    uint32_t n = 10000;

    (void)state;
    assert_non_null(header);
    must(make_of(header, many(header, LIMIT_RANKS), data, LIMIT_RANKS), true, 1000, &p);
    assert_int_equal(p.n, LIMIT_RANKS);
    payload_fini(&p);
    start = clock_us();
    codecs_refuse(&codec_safetensors, none(), body, make_of(header, many(header, n), data, 0),
                  ERR_bad_safetensors, "1024", "10000 tensors");
    assert_true(clock_us() - start < 2000000);
    free(header);
}

static void a_header_is_taken_up_to_its_limit(void **state)
{
    char *header = malloc(LIMIT_SAFETENSORS_HEADER_BYTES + 1);
    struct payload p;

    (void)state;
    assert_non_null(header);
    memset(header, ' ', LIMIT_SAFETENSORS_HEADER_BYTES + 1);
    memcpy(header, "{}", 2);
    must(make_of(header, LIMIT_SAFETENSORS_HEADER_BYTES, "", 0), true, 65536, &p);
    payload_fini(&p);
    codecs_refuse(&codec_safetensors, none(), body,
                  make_of(header, LIMIT_SAFETENSORS_HEADER_BYTES + 1, "", 0), ERR_bad_safetensors,
                  "1048576", "one byte more");
    free(header);
}

static void names_too_long_for_a_rank_are_cut_and_not_confused(void **state)
{
    char header[400];
    struct payload p;

    (void)state;
    snprintf(header, sizeof header,
             "{\"%0100d\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
             "\"%0101d\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}",
             1, 1);
    must(make(header, "12", 2), false, 1000, &p);
    assert_int_equal(p.n, 2);
    assert_int_equal(strlen(p.items[0].name), 31);
    payload_fini(&p);
}

static void a_full_arena_is_told_before_the_data(void **state)
{
    struct codec_head h = {.length_bytes = (int64_t)CODECS_ARENA + 100};
    struct payload p;
    struct err e;
    void *s = NULL;
    size_t len;

    (void)state;
    assert_int_equal(codec_safetensors.begin(&s, &h, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    h.length_bytes = -1;
    len = make("{" ENTRY("0", "U8", "[67108864]", "0", "67108864") "}", "", 0);
    assert_int_equal(codecs_read(&codec_safetensors, &h, body, len, 1000, &p, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    assert_int_equal(e.asked_bytes, 67108864);
    codec_safetensors.drop(NULL);
}

/* ---- written ---- */

static void outputs_are_named_by_rank_and_those_without_are_left_out(void **state)
{
    struct shape s = {.ndim = 1, .dim = {3}}, scalar = {.ndim = 0};
    struct tensor *a = codecs_tensor(DTYPE_bfloat16, &s), *b = codecs_tensor(DTYPE_int64, &scalar);
    struct tensor *all[] = {a, NULL, b};
    static const char want[] = "{" ENTRY("0", "BF16", "[3]", "0", "6") "," ENTRY("2", "I64", "[]",
                                                                                 "6", "14") "}";
    struct parts p;
    struct err e;
    uint8_t *bytes;
    uint64_t len;

    (void)state;
    assert_int_equal(
        codec_safetensors.write(&(struct codec_out){.n = 3, .t = all, .stacked = true}, &p, &e), 0);
    bytes = codecs_join(&p);
    memcpy(&len, bytes, 8);
    assert_int_equal(len % 8, 0);
    assert_int_equal(8 + len + 14, p.total_bytes);
    assert_memory_equal(bytes + 8, want, sizeof want - 1);
    for (uint64_t i = sizeof want - 1; i < len; i++)
        assert_int_equal(bytes[8 + i], ' ');
    assert_memory_equal(bytes + 8 + len, tensor_data(a), 6);
    assert_memory_equal(bytes + 8 + len + 6, tensor_data(b), 8);
    assert_ptr_equal(p.part[1].bytes, tensor_data(a));
    free(bytes);
    parts_fini(&p);
    tensor_unref(a);
    tensor_unref(b);
}

static void what_is_written_reads_back(void **state)
{
    struct tensor *all[DTYPE_COUNT];
    struct parts p;
    struct payload back;
    struct err e;
    uint8_t *bytes;

    (void)state;
    for (int d = 0; d < DTYPE_COUNT; d++)
        all[d] = codecs_tensor((enum dtype)d, &(struct shape){.ndim = 2, .dim = {(uint64_t)d, 3}});
    assert_int_equal(codec_safetensors.write(
                         &(struct codec_out){.n = DTYPE_COUNT, .t = all, .stacked = true}, &p, &e),
                     0);
    bytes = codecs_join(&p);
    memcpy(body, bytes, p.total_bytes);
    must(p.total_bytes, false, 77, &back);
    assert_int_equal(back.n, DTYPE_COUNT);
    for (int d = 0; d < DTYPE_COUNT; d++) {
        char name[12];
        const struct tensor *t;

        snprintf(name, sizeof name, "%d", d);
        t = item(&back, name)->tensor;
        assert_int_equal(t->dtype, d);
        assert_true(shape_equal(&t->shape, &all[d]->shape));
        assert_memory_equal(tensor_data(t), tensor_data(all[d]), t->size_bytes);
        tensor_unref(all[d]);
    }
    free(bytes);
    parts_fini(&p);
    payload_fini(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CODEC_TEST(tensors_lie_at_their_offsets_in_one_extent),
        CODEC_TEST(every_dtype_is_known_by_its_name),
        CODEC_TEST(empty_tensors_share_a_place),
        CODEC_TEST(a_length_that_cannot_be_is_refused),
        CODEC_TEST(a_header_that_is_no_json_object_is_refused),
        CODEC_TEST(an_entry_says_dtype_shape_and_offsets_and_no_more),
        CODEC_TEST(metadata_is_an_object_of_strings),
        CODEC_TEST(dtypes_of_others_are_refused_by_name),
        CODEC_TEST(offsets_cover_the_data_without_hole_or_overlap),
        CODEC_TEST(offsets_span_what_the_shape_takes),
        CODEC_TEST(the_data_ends_with_its_last_tensor),
        CODEC_TEST(parameters_do_not_contradict_the_header),
        CODEC_TEST(there_are_at_most_as_many_tensors_as_ranks_may_be),
        CODEC_TEST(a_header_is_taken_up_to_its_limit),
        CODEC_TEST(names_too_long_for_a_rank_are_cut_and_not_confused),
        CODEC_TEST(a_full_arena_is_told_before_the_data),
        CODEC_TEST(outputs_are_named_by_rank_and_those_without_are_left_out),
        CODEC_TEST(what_is_written_reads_back),
        CODEC_TEST(bytes_past_the_end_touch_nobody_elses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
