/* test_strangers.c - those who have not proved who they are take no more than their share. */
#include "tests/unit/unit.h"

#include "schema/limits.h"
#include "server/strangers.h"

#include <stdio.h>
#include <string.h>

#define S 1000000ull

static struct err e;

static const char *address(unsigned i)
{
    static char text[STRANGER_BYTES];

    snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
    return text;
}

static void one_address_has_its_connections_and_all_have_theirs(void **state)
{
    unsigned addresses = LIMIT_STRANGERS / LIMIT_STRANGERS_ADDRESS;

    (void)state;
    for (unsigned a = 0; a < addresses; a++) {
        for (int i = 0; i < LIMIT_STRANGERS_ADDRESS; i++)
            assert_int_equal(stranger_comes(address(a), S, &e), 0);
        assert_int_equal(stranger_comes(address(a), S, &e), -1);
        assert_int_equal(e.code, ERR_refused);
    }
    assert_int_equal(stranger_comes(address(999), S, &e), -1);
    stranger_leaves(address(1));
    assert_int_equal(stranger_comes(address(0), S, &e), -1); /* its own share is still in use */
    assert_int_equal(stranger_comes(address(999), S, &e), 0);
    stranger_leaves(address(999));
    stranger_leaves(address(999)); /* once too often: changes nothing */
    assert_int_equal(stranger_comes(address(999), S, &e), 0);
    assert_int_equal(stranger_comes(address(998), S, &e), -1);
    stranger_leaves(address(999));
    for (unsigned a = 0; a < addresses; a++) {
        for (int i = a == 1; i < LIMIT_STRANGERS_ADDRESS; i++)
            stranger_leaves(address(a));
    }
}

static void be_wrong(const char *who, int times, uint64_t now_us)
{
    for (int i = 0; i < times; i++) {
        assert_int_equal(stranger_comes(who, now_us, &e), 0);
        stranger_was_wrong(who, now_us);
        stranger_leaves(who);
    }
}

static void who_is_wrong_too_often_waits_and_others_do_not(void **state)
{
    (void)state;
    be_wrong("192.0.2.1", LIMIT_WRONG_PROOFS, 10 * S);
    assert_int_equal(stranger_comes("192.0.2.1", 11 * S, &e), -1);
    assert_non_null(strstr(e.detail, "wrong"));
    assert_int_equal(stranger_comes("192.0.2.2", 11 * S, &e), 0);
    stranger_leaves("192.0.2.2");
    assert_int_equal(stranger_comes("192.0.2.1", (10 + LIMIT_WRONG_PROOFS_S) * S - 1, &e), -1);
    assert_int_equal(stranger_comes("192.0.2.1", (10 + LIMIT_WRONG_PROOFS_S) * S, &e), 0);
    stranger_leaves("192.0.2.1");
}

/* However many addresses come and go: the table has room, and who is here keeps his place. */
static void the_table_does_not_fill_up(void **state)
{
    (void)state;
    assert_int_equal(stranger_comes("2001:db8::1", S, &e), 0);
    for (unsigned i = 0; i < 2000; i++) {
        assert_int_equal(stranger_comes(address(i), 100 * S + i, &e), 0);
        stranger_was_wrong(address(i), 100 * S + i);
        stranger_leaves(address(i));
    }
    for (int i = 1; i < LIMIT_STRANGERS_ADDRESS; i++)
        assert_int_equal(stranger_comes("2001:db8::1", 101 * S, &e), 0);
    assert_int_equal(stranger_comes("2001:db8::1", 101 * S, &e), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_has_its_connections_and_all_have_theirs),
        cmocka_unit_test(who_is_wrong_too_often_waits_and_others_do_not),
        cmocka_unit_test(the_table_does_not_fill_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
