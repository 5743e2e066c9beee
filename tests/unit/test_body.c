/* test_body.c - rules of bodies: what is refused before a byte comes, and the JSON budget. */
#include "tests/unit/codecs.h"

#include "schema/limits.h"
#include "server/body.h"

static struct codec_head head(int64_t length)
{
    return (struct codec_head){.length_bytes = length};
}

static void expect_refused(enum body_kind kind, const char *type, int64_t length,
                           enum err_code code, const char *word)
{
    struct codec_head h = head(length);
    struct body b;
    struct err e = {0};

    assert_int_equal(body_begin(&b, kind, type, &h, &e), -1);
    if (e.code != code || !strstr(e.detail, word))
        fail_msg("%s: %s", err_name(e.code), e.detail);
    body_fini(&b);
    assert_int_equal(body_json_bytes(), 0);
    assert_int_equal(live_extents(), 0);
}

static void what_can_be_refused_is_refused_before_the_first_byte(void **state)
{
    (void)state;
    expect_refused(BODY_NONE, NULL, 5, ERR_unsupported_media, "takes no body");
    expect_refused(BODY_NONE, NULL, -1, ERR_unsupported_media, "takes no body");
    expect_refused(BODY_JSON, "application/json", 0, ERR_empty_body, "empty");
    expect_refused(BODY_TENSORS, NULL, 0, ERR_empty_body, "empty");
    expect_refused(BODY_MAYBE, NULL, 5, ERR_unsupported_media, "application/x-npy");
    expect_refused(BODY_TENSORS, NULL, 5, ERR_unsupported_media, "application/x-npy");
    expect_refused(BODY_TENSORS, "text/plain", 5, ERR_unsupported_media, "text/plain");
    expect_refused(BODY_TENSORS, "application/x-www-form-urlencoded", -1, ERR_unsupported_media,
                   "application/json");
    expect_refused(BODY_JSON, "application/x-npy", 5, ERR_unsupported_media, "application/json");
    expect_refused(BODY_JSON, "application/json", LIMIT_JSON_PARAM_BYTES + 1, ERR_body_too_large,
                   "65536 bytes");
    expect_refused(BODY_TENSORS, "application/json", (int64_t)LIMIT_JSON_BODY_BYTES + 1,
                   ERR_body_too_large, ".npy");
    expect_refused(BODY_TENSORS, "application/json", INT64_MAX, ERR_body_too_large, ".npy");
    expect_refused(BODY_TENSORS, "application/x-npy", (int64_t)CODECS_ARENA * 2, ERR_arena_full,
                   "");
    expect_refused(BODY_TENSORS, "application/vnd.safetensors", INT64_MAX, ERR_arena_full, "");
    expect_refused(BODY_TENSORS, "application/octet-stream", 4, ERR_missing_parameter, "dtype=");
}

static void an_endpoint_without_a_body_takes_an_empty_one(void **state)
{
    struct codec_head h = head(0);
    struct body b;
    struct err e;

    (void)state;
    assert_int_equal(body_begin(&b, BODY_MAYBE, NULL, &h, &e), 0);
    body_fini(&b);
    assert_int_equal(body_begin(&b, BODY_NONE, NULL, &h, &e), 0);
    assert_int_equal(body_finish(&b, &e), 0);
    assert_int_equal(body_feed(&b, (const uint8_t *)"x", 1, &e), -1);
    body_fini(&b);
    body_fini(&b);
}

static void json_comes_in_pieces_and_is_checked_at_the_end(void **state)
{
    static const char text[] = " {\"inputs\": [[1, 2], [3, 4]]} ";

    (void)state;
    for (int chunked = 0; chunked < 2; chunked++) {
        struct codec_head h = head(chunked ? -1 : (int64_t)sizeof text - 1);
        struct body b;
        struct err e;

        assert_int_equal(body_begin(&b, BODY_TENSORS, "application/json", &h, &e), 0);
        for (size_t i = 0; i < sizeof text - 1; i++)
            assert_int_equal(body_feed(&b, (const uint8_t *)text + i, 1, &e), 0);
        assert_int_equal(body_finish(&b, &e), 0);
        assert_true(b.finished);
        assert_int_equal(b.json.len, sizeof text - 3);
        assert_memory_equal(b.json.at, text + 1, b.json.len);
        assert_true(body_json_bytes() >= sizeof text - 1);
        body_fini(&b);
        assert_int_equal(body_json_bytes(), 0);
        body_fini(&b);
    }
}

static void json_that_is_none_is_refused_at_the_end(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
    } rows[] = {{"", ERR_empty_body}, {"{\"a\":}", ERR_bad_json}, {"\xef\xbb\xbf{}", ERR_bad_json}};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct codec_head h = head(-1);
        struct body b;
        struct err e;

        assert_int_equal(body_begin(&b, BODY_JSON, "application/json", &h, &e), 0);
        assert_int_equal(body_feed(&b, (const uint8_t *)rows[i].text, strlen(rows[i].text), &e), 0);
        assert_int_equal(body_finish(&b, &e), -1);
        assert_int_equal(e.code, rows[i].code);
        assert_false(b.finished);
        body_fini(&b);
    }
}

/* At the limit it is taken, one byte past it is not; nothing says the length beforehand. */
static void a_chunked_json_body_is_bounded_as_it_comes(void **state)
{
    static uint8_t piece[4096];
    struct codec_head h = head(-1);
    struct body b;
    struct err e;

    (void)state;
    memset(piece, ' ', sizeof piece);
    assert_int_equal(body_begin(&b, BODY_JSON, "application/json", &h, &e), 0);
    for (uint32_t n = 0; n < LIMIT_JSON_PARAM_BYTES; n += sizeof piece)
        assert_int_equal(body_feed(&b, piece, sizeof piece, &e), 0);
    assert_int_equal(body_json_bytes(), LIMIT_JSON_PARAM_BYTES);
    assert_int_equal(body_feed(&b, piece, 1, &e), -1);
    assert_int_equal(e.code, ERR_body_too_large);
    body_fini(&b);
    assert_int_equal(body_json_bytes(), 0);
}

static void all_json_bodies_together_stay_within_the_budget(void **state)
{
    enum { FIT = LIMIT_JSON_MEMORY_BYTES / LIMIT_JSON_BODY_BYTES };
    struct codec_head h = head(LIMIT_JSON_BODY_BYTES);
    struct body b[FIT + 1];
    struct err e;

    (void)state;
    for (int i = 0; i < FIT; i++)
        assert_int_equal(body_begin(&b[i], BODY_TENSORS, "application/json", &h, &e), 0);
    assert_int_equal(body_json_bytes(), LIMIT_JSON_MEMORY_BYTES);
    assert_int_equal(body_begin(&b[FIT], BODY_TENSORS, "application/json", &h, &e), -1);
    assert_int_equal(e.code, ERR_overloaded);
    body_fini(&b[FIT]);
    assert_int_equal(body_json_bytes(), LIMIT_JSON_MEMORY_BYTES);
    body_fini(&b[0]);
    assert_int_equal(body_begin(&b[0], BODY_TENSORS, "application/json", &h, &e), 0);
    for (int i = 0; i < FIT; i++)
        body_fini(&b[i]);
    assert_int_equal(body_json_bytes(), 0);
}

static void binary_bytes_go_into_an_extent_and_its_tensor(void **state)
{
    struct codec_head h = {.has_dtype = true,
                           .dtype = DTYPE_int16,
                           .has_shape = true,
                           .shape = {.ndim = 1, .dim = {3}},
                           .length_bytes = 6};
    struct body b;
    struct err e;

    (void)state;
    assert_int_equal(body_begin(&b, BODY_TENSORS, "application/octet-stream", &h, &e), 0);
    assert_int_equal(body_json_bytes(), 0);
    assert_int_equal(live_extents(), 1);
    assert_int_equal(body_feed(&b, (const uint8_t *)"\1\0\2\0\3\0", 6, &e), 0);
    assert_int_equal(body_finish(&b, &e), 0);
    assert_non_null(b.payload.whole);
    assert_memory_equal(tensor_data(b.payload.whole), "\1\0\2\0\3\0", 6);
    body_fini(&b);
    assert_int_equal(live_extents(), 0);
}

static void a_client_gone_in_the_middle_leaves_nothing(void **state)
{
    struct codec_head h = head(1 << 20);
    struct body b;
    struct err e;

    (void)state;
    assert_int_equal(body_begin(&b, BODY_TENSORS, "application/x-npy", &h, &e), 0);
    assert_int_equal(body_feed(&b, (const uint8_t *)"\x93NUMPY\1\0", 8, &e), 0);
    assert_int_equal(live_extents(), 1);
    body_fini(&b);
    assert_int_equal(live_extents(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CODEC_TEST(what_can_be_refused_is_refused_before_the_first_byte),
        CODEC_TEST(an_endpoint_without_a_body_takes_an_empty_one),
        CODEC_TEST(json_comes_in_pieces_and_is_checked_at_the_end),
        CODEC_TEST(json_that_is_none_is_refused_at_the_end),
        CODEC_TEST(a_chunked_json_body_is_bounded_as_it_comes),
        CODEC_TEST(all_json_bodies_together_stay_within_the_budget),
        CODEC_TEST(binary_bytes_go_into_an_extent_and_its_tensor),
        CODEC_TEST(a_client_gone_in_the_middle_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
