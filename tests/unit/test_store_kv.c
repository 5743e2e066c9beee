/* test_store_kv.c - rules of keys in the store: whose they are, and how much of them there may be.
 */
#include "tests/unit/stage.h"

#include "embed.h"
#include "schema/clock.h"
#include "server/store_internal.h"
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

/* A value of that many bytes under a key of the world. */
static enum err_code put_bytes(const char *key, size_t len, uint64_t expires_us)
{
    struct store_kv_put m = put_of("world", 0, key);
    char *text = malloc(len);
    int rc;

    assert_non_null(text);
    memset(text, '7', len);
    m.text = text;
    m.len = len;
    m.expires_us = expires_us;
    rc = stage_post(&m.msg);
    free(text);
    if (rc != 0)
        assert_non_null(strstr(m.msg.err.detail, "268435456"));
    return rc == 0 ? ERR_none : m.msg.err.code;
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

/* ---- how much of them ---- */

/* All but `but` bytes of what there is room for; "big.0" has LIMIT_VALUE_BYTES. */
static void fill(size_t but)
{
    unsigned n = (unsigned)(LIMIT_KV_BYTES / LIMIT_VALUE_BYTES);

    for (unsigned i = 0; i < n; i++) {
        char key[16];

        snprintf(key, sizeof key, "big.%u", i);
        assert_int_equal(put_bytes(key, LIMIT_VALUE_BYTES - (i == n - 1 ? but : 0), NEVER),
                         ERR_none);
    }
}

static void values_have_a_most_bytes_in_all(void **state)
{
    (void)state;
    fill(5);
    assert_int_equal(put_bytes("more", 6, NEVER), ERR_too_many_keys);
    assert_int_equal(put_bytes("more", 5, NEVER), ERR_none);
    assert_int_equal(put_bytes("other", 1, NEVER), ERR_too_many_keys);
    stage_restart();
    assert_int_equal(put_bytes("other", 1, NEVER), ERR_too_many_keys);

    /* One in place of another: what it replaces makes room. */
    assert_int_equal(put_bytes("more", 5, NEVER), ERR_none);
    assert_int_equal(put_bytes("more", 6, NEVER), ERR_too_many_keys);
    assert_int_equal(put_bytes("more", 4, NEVER), ERR_none);
    assert_int_equal(put_bytes("other", 1, NEVER), ERR_none);
    assert_int_equal(put_bytes("big.0", LIMIT_VALUE_BYTES, NEVER), ERR_none);
    assert_int_equal(put_bytes("third", 1, NEVER), ERR_too_many_keys);

    assert_int_equal(take("world", 0, "big.0"), ERR_none);
    assert_int_equal(put_bytes("big.0", LIMIT_VALUE_BYTES, NEVER), ERR_none);
    assert_int_equal(put_bytes("third", 1, NEVER), ERR_too_many_keys);
}

static void what_expired_or_went_with_its_group_takes_no_room(void **state)
{
    struct store_kv_put m = put_of("pair", 5, "k");

    (void)state;
    make_group("pair", 5);
    fill(5);
    m.text = "[2]";
    m.len = 3;
    must(&m.msg);
    assert_int_equal(put_bytes("brief", 2, clock_wall_us() + 200000), ERR_none);
    assert_int_equal(put_bytes("more", 2, NEVER), ERR_too_many_keys);
    usleep(250000);
    assert_int_equal(put_bytes("more", 2, NEVER), ERR_none);
    assert_int_equal(put_bytes("other", 3, NEVER), ERR_too_many_keys);
    delete_group("pair");
    assert_int_equal(put_bytes("other", 3, NEVER), ERR_none);
    assert_int_equal(put_bytes("third", 1, NEVER), ERR_too_many_keys);
}

/* A database from before sizes were kept. */
static void values_are_measured_when_the_schema_comes_to_know_sizes(void **state)
{
    static const char *const old[] = {
        embed_0001_init_sql,
        embed_0002_resident_sql,
        embed_0003_calls_sql,
        embed_0004_backward_sql,
        embed_0005_kv_sql,
        "PRAGMA application_id=0x74757474; PRAGMA user_version=5;"
        "INSERT INTO kv(grp,key,value,version,expires_us)"
        " VALUES('world','k','\"\xc3\xa9\"',randomblob(16),9223372036854775807)"};
    struct kv_row row;
    struct err e = {0};
    sqlite3 *sql;
    uint32_t n;

    (void)state;
    store_stop();
    stage_close();
    stage_remove_dir();
    stage_make_dir();
    assert_int_equal(sqlite3_open(stage_path("tutti.db"), &sql), SQLITE_OK);
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++)
        assert_int_equal(sqlite3_exec(sql, old[i], NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
    stage_open(NULL);
    assert_int_equal(store_start(&e), 0);
    assert_int_equal(store_kv_list("world", "", "", 1, &row, 1, &n, &e), 0);
    assert_int_equal(n, 1);
    assert_string_equal(row.key, "k");
    assert_int_equal(row.size_bytes, 4);
    assert_true(row.expires_us == NEVER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_are_of_a_group_that_is_there),
        TEST(the_next_group_of_a_name_is_another),
        TEST(the_world_needs_no_row),
        TEST(values_have_a_most_bytes_in_all),
        TEST(what_expired_or_went_with_its_group_takes_no_room),
        TEST(values_are_measured_when_the_schema_comes_to_know_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
