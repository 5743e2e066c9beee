/* test_id.c - rules of ULIDs. */
#include "tests/unit/unit.h"

#include "server/id.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void ids_of_one_process_are_strictly_increasing(void **state)
{
    struct id last = {{0}};

    (void)state;
    for (int i = 0; i < 100000; i++) {
        struct id id = id_new();

        assert_true(memcmp(id.b, last.b, sizeof id.b) > 0);
        last = id;
    }
}

#define THREADS 4
#define EACH 20000
static struct id made[THREADS * EACH];

static void *make_ids(void *arg)
{
    struct id *at = arg;

    for (int i = 0; i < EACH; i++)
        at[i] = id_new();
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct id));
}

static void threads_never_get_the_same_id(void **state)
{
    pthread_t t[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, make_ids, made + i * EACH), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    qsort(made, THREADS * EACH, sizeof made[0], compare_ids);
    for (int i = 1; i < THREADS * EACH; i++)
        assert_false(id_equal(&made[i - 1], &made[i]));
}

static void text_says_the_id_and_sorts_like_it(void **state)
{
    char a[ID_TEXT], b[ID_TEXT], lower[ID_TEXT];
    struct id x = id_new(), y = id_new(), back;

    (void)state;
    id_format('j', &x, a);
    id_format('j', &y, b);
    assert_int_equal(strlen(a), ID_TEXT - 1);
    assert_true(strcmp(a, b) < 0);
    assert_int_equal(id_parse('j', a, strlen(a), &back), 0);
    assert_true(id_equal(&x, &back));
    for (size_t i = 0; i < sizeof lower; i++)
        lower[i] = i < 2 ? a[i] : (char)tolower(a[i]);
    assert_int_equal(id_parse('j', lower, strlen(lower), &back), 0);
    assert_true(id_equal(&x, &back));
}

/* The spec's own extremes. */
static void text_is_crockford_base_32_of_128_bits(void **state)
{
    char buf[ID_TEXT];
    struct id zero = {{0}}, all, one = {{0}};

    (void)state;
    memset(all.b, 0xff, sizeof all.b);
    one.b[15] = 1;
    assert_string_equal(id_format('t', &zero, buf), "t_00000000000000000000000000");
    assert_string_equal(id_format('t', &all, buf), "t_7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    assert_string_equal(id_format('t', &one, buf), "t_00000000000000000000000001");
    assert_true(id_is_zero(&zero));
    assert_false(id_is_zero(&one));
}

static void what_is_not_an_id_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "t_",
        "j_",
        "j_0000000000000000000000000",
        "j_000000000000000000000000000",
        "t_00000000000000000000000000",
        "j-00000000000000000000000000",
        "j_80000000000000000000000000",
        "j_0000000000000000000000000U",
        "j_0000000000000000000000000I",
        "j_0000000000000000000000000/",
        "../../../../../../../../../x",
    };
    struct id out;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(id_parse('j', bad[i], strlen(bad[i]), &out), -1);
    assert_int_equal(id_parse('j', "j_0000000000000000000000000\0", 28, &out), -1);
}

/* F38: an earlier process whose clock was a day ahead. */
static void ids_go_on_after_those_of_before(void **state)
{
    struct id before = id_new(), at = before, after;

    (void)state;
    id_pass(&before);
    at.b[3] = (uint8_t)(at.b[3] + 5); /* some 20 hours */
    if (at.b[3] < 5)
        at.b[2]++;
    id_pass(&at);
    after = id_new();
    assert_true(memcmp(after.b, at.b, sizeof at.b) > 0);
    id_pass(&before);
    assert_true(memcmp(id_new().b, after.b, sizeof at.b) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_of_one_process_are_strictly_increasing),
        cmocka_unit_test(threads_never_get_the_same_id),
        cmocka_unit_test(text_says_the_id_and_sorts_like_it),
        cmocka_unit_test(text_is_crockford_base_32_of_128_bits),
        cmocka_unit_test(what_is_not_an_id_is_refused),
        cmocka_unit_test(ids_go_on_after_those_of_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
