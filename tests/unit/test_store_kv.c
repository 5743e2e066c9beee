/* test_store_kv.c - rules of keys in the store: whose they are, and for how long. */
#include "tests/unit/stage.h"

#include "schema/clock.h"
#include "server/store_kv.h"

#define NEVER UINT64_MAX

static void make_group(const char *name, uint64_t made_us)
{
    struct group g = {.created_us = made_us, .n = 1};
    struct store_group_insert m = {.group = &g};

    strcpy(g.name, name);
    store_group_insert_init(&m);
    must(&m.msg);
}

static void delete_group(const char *name)
{
    struct store_group_delete m = {.name = name};

    store_group_delete_init(&m);
    must(&m.msg);
}

static struct store_kv_put put_of(const char *group, uint64_t made_us, const char *key)
{
    struct store_kv_put m = {.group = group,
                             .key = key,
                             .text = "1",
                             .len = 1,
                             .when = {.now_us = clock_wall_us(), .group_us = made_us},
                             .expires_us = NEVER,
                             .version = id_new()};

    store_kv_put_init(&m);
    return m;
}

static enum err_code put(const char *group, uint64_t made_us, const char *key)
{
    struct store_kv_put m = put_of(group, made_us, key);

    return stage_post(&m.msg) == 0 ? ERR_none : m.msg.err.code;
}

static enum err_code take(const char *group, uint64_t made_us, const char *key)
{
    struct store_kv_take m = {
        .group = group, .key = key, .when = {.now_us = clock_wall_us(), .group_us = made_us}};
    int rc;

    store_kv_take_init(&m);
    rc = stage_post(&m.msg);
    free(m.value.text);
    return rc == 0 ? ERR_none : m.msg.err.code;
}

static bool is_there(const char *group, const char *key)
{
    struct kv_value v;
    struct err e = {0};
    int rc = store_kv_read(group, key, clock_wall_us(), &v, &e);

    if (rc < 0)
        fail_msg("%s", e.detail);
    if (rc == 0)
        free(v.text);
    return rc == 0;
}

/* ---- whose they are ---- */

static void keys_are_of_a_group_that_is_there(void **state)
{
    (void)state;
    assert_int_equal(put("pair", 5, "k"), ERR_group_unknown);
    assert_false(is_there("pair", "k"));
    make_group("pair", 5);
    assert_int_equal(put("pair", 5, "k"), ERR_none);
    assert_true(is_there("pair", "k"));
    delete_group("pair");
    assert_false(is_there("pair", "k"));
    assert_int_equal(put("pair", 5, "k"), ERR_group_unknown);
    assert_int_equal(take("pair", 5, "k"), ERR_group_unknown);
}

/* Who asked before the deletion must not meet what comes after it. */
static void the_next_group_of_a_name_is_another(void **state)
{
    (void)state;
    make_group("pair", 5);
    delete_group("pair");
    make_group("pair", 6);
    assert_int_equal(put("pair", 5, "k"), ERR_group_unknown);
    assert_int_equal(put("pair", 6, "k"), ERR_none);
    assert_int_equal(take("pair", 5, "k"), ERR_group_unknown);
    stage_restart();
    assert_int_equal(take("pair", 6, "k"), ERR_none);
}

static void the_world_needs_no_row(void **state)
{
    (void)state;
    assert_int_equal(put("world", 5, "k"), ERR_none);
    assert_int_equal(take("world", 6, "k"), ERR_none);
    assert_int_equal(take("world", 6, "k"), ERR_key_unknown);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_are_of_a_group_that_is_there),
        TEST(the_next_group_of_a_name_is_another),
        TEST(the_world_needs_no_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
