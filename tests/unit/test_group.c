/* test_group.c - rules of the group table: names, ranks, the world, order. */
#include "tests/unit/unit.h"

#include "server/group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    struct err e;

    (void)state;
    return group_table_init(4, &e);
}

static int teardown(void **state)
{
    (void)state;
    group_table_fini();
    return 0;
}

static struct group make(const char *name, uint32_t n, const uint32_t *ranks)
{
    struct group g = {.n = n, .created_us = 9};

    snprintf(g.name, sizeof g.name, "%s", name);
    memcpy(g.ranks, ranks, n * sizeof *ranks);
    return g;
}

static const uint32_t r31[] = {3, 1}, r13[] = {1, 3}, r0123[] = {0, 1, 2, 3};

static void names_are_a_letter_and_up_to_63_more(void **state)
{
    static const struct {
        const char *name;
        size_t len;
        int rc;
    } rows[] = {
        {"a", 1, 0},     {"Z9_.-", 5, 0},      {"world", 5, 0}, {"", 0, -1},
        {"9a", 2, -1},   {"_a", 2, -1},        {"../x", 4, -1}, {"a b", 3, -1},
        {"a\0b", 3, -1}, {"a\xc3\xa9", 3, -1}, {"a/b", 3, -1},  {"a\n", 2, -1},
    };
    char longest[66];
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(group_check_name(rows[i].name, rows[i].len, &e), rows[i].rc);
    memset(longest, 'x', sizeof longest);
    assert_int_equal(group_check_name(longest, LIMIT_GROUP_NAME_BYTES, &e), 0);
    assert_int_equal(group_check_name(longest, LIMIT_GROUP_NAME_BYTES + 1, &e), -1);
    assert_int_equal(e.code, ERR_group_invalid);
}

static void ranks_are_distinct_and_in_the_world(void **state)
{
    static const uint32_t twice[] = {2, 0, 2}, beyond[] = {0, 4}, far[] = {UINT32_MAX};
    struct err e;

    (void)state;
    assert_int_equal(group_check_ranks(r31, 2, &e), 0);
    assert_int_equal(group_check_ranks(r0123, 4, &e), 0);
    assert_int_equal(group_check_ranks(r31, 0, &e), -1);
    assert_string_equal(e.pointer, "/ranks");
    assert_int_equal(group_check_ranks(twice, 3, &e), -1);
    assert_string_equal(e.pointer, "/ranks/2");
    assert_int_equal(group_check_ranks(beyond, 2, &e), -1);
    assert_string_equal(e.pointer, "/ranks/1");
    assert_int_equal(group_check_ranks(far, 1, &e), -1);
    assert_int_equal(e.code, ERR_group_invalid);
}

static void a_group_has_at_most_limit_ranks(void **state)
{
    static uint32_t ranks[LIMIT_RANKS + 1];
    struct err e;

    (void)state;
    for (uint32_t i = 0; i <= LIMIT_RANKS; i++)
        ranks[i] = i;
    assert_int_equal(group_table_init(LIMIT_RANKS, &e), 0);
    assert_int_equal(group_check_ranks(ranks, LIMIT_RANKS, &e), 0);
    assert_int_equal(group_check_ranks(ranks, LIMIT_RANKS + 1, &e), -1);
    assert_int_equal(group_table_init(LIMIT_RANKS + 1, &e), -1);
    assert_int_equal(group_table_init(0, &e), -1);
    assert_int_equal(group_table_init(4, &e), 0);
}

static void the_world_is_always_there_and_cannot_be_changed(void **state)
{
    struct group g, same = make("world", 4, r0123), other = make("world", 2, r31);
    struct err e;

    (void)state;
    assert_int_equal(group_find("world", 5, &g, &e), 0);
    assert_int_equal(g.n, 4);
    assert_memory_equal(g.ranks, r0123, sizeof r0123);
    assert_int_equal(group_add(&same, &e), 1);
    assert_int_equal(group_add(&other, &e), -1);
    assert_int_equal(e.code, ERR_group_exists);
    assert_int_equal(group_remove("world", &e), -1);
    assert_int_equal(e.code, ERR_group_protected);
}

static void the_same_group_may_be_added_again_and_no_other_under_its_name(void **state)
{
    struct group g = make("pair", 2, r31), turned = make("pair", 2, r13), out;
    struct err e;

    (void)state;
    assert_int_equal(group_add(&g, &e), 0);
    assert_int_equal(group_add(&g, &e), 1);
    assert_int_equal(group_add(&turned, &e), -1); /* the order is the group */
    assert_int_equal(e.code, ERR_group_exists);
    assert_int_equal(group_find("pair", 4, &out, &e), 0);
    assert_memory_equal(out.ranks, r31, sizeof r31);
    assert_int_equal(out.created_us, 9);
    assert_int_equal(group_remove("pair", &e), 0);
    assert_int_equal(group_add(&turned, &e), 0);
}

static void what_is_not_there_is_unknown(void **state)
{
    struct group g = make("pair", 2, r31), out;
    struct err e;

    (void)state;
    assert_int_equal(group_add(&g, &e), 0);
    assert_int_equal(group_find("pai", 3, &out, &e), -1);
    assert_int_equal(group_find("pairs", 5, &out, &e), -1);
    assert_int_equal(group_find("pair\0x", 6, &out, &e), -1);
    assert_int_equal(group_find("", 0, &out, &e), -1);
    assert_int_equal(e.code, ERR_group_unknown);
    assert_int_equal(group_remove("nobody", &e), -1);
    assert_int_equal(e.code, ERR_group_unknown);
}

static void lists_are_the_world_and_then_by_name_in_pages(void **state)
{
    static const char *const names[] = {"zeta", "alpha", "xylo", "beta", "Alpha"};
    static struct group out[8];
    struct err e;

    (void)state;
    for (int i = 0; i < 5; i++) {
        struct group g = make(names[i], 2, r31);

        assert_int_equal(group_add(&g, &e), 0);
    }
    assert_int_equal(group_list(NULL, "", out, 8), 6);
    assert_string_equal(out[0].name, "world");
    assert_string_equal(out[1].name, "Alpha");
    assert_string_equal(out[2].name, "alpha");
    assert_string_equal(out[5].name, "zeta");
    assert_int_equal(group_list(NULL, "", out, 2), 2);
    assert_int_equal(group_list(NULL, "world", out, 2), 2);
    assert_string_equal(out[0].name, "Alpha");
    assert_int_equal(group_list(NULL, "beta", out, 8), 2);
    assert_string_equal(out[0].name, "xylo");
    assert_int_equal(group_list(NULL, "c", out, 8), 2); /* a name that has gone */
    assert_int_equal(group_list(NULL, "zeta", out, 8), 0);
    assert_int_equal(group_list(NULL, "", out, 0), 0);
}

static void ten_thousand_groups_and_no_more(void **state)
{
    struct err e;

    (void)state;
    for (int i = 0; i <= LIMIT_GROUPS; i++) {
        struct group g = make("", 1, r31);

        snprintf(g.name, sizeof g.name, "g%d", (i * 7919) % (LIMIT_GROUPS + 1));
        assert_int_equal(group_add(&g, &e), i < LIMIT_GROUPS ? 0 : -1);
    }
    assert_int_equal(e.code, ERR_too_many_groups);
    assert_int_equal(group_remove("g1", &e), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(names_are_a_letter_and_up_to_63_more),
        TEST(ranks_are_distinct_and_in_the_world),
        TEST(a_group_has_at_most_limit_ranks),
        TEST(the_world_is_always_there_and_cannot_be_changed),
        TEST(the_same_group_may_be_added_again_and_no_other_under_its_name),
        TEST(what_is_not_there_is_unknown),
        TEST(lists_are_the_world_and_then_by_name_in_pages),
        TEST(ten_thousand_groups_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
