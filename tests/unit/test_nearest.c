/* test_nearest.c - rules of guessing which word was meant. */
#include "tests/unit/unit.h"

#include "schema/op.h"
#include "server/nearest.h"

#include <string.h>

static const char *nearest_op(const char *word)
{
    struct nearest n;

    nearest_init(&n, word);
    for (int i = 0; i < OP_COUNT; i++)
        nearest_try(&n, ops[i].name);
    return n.best ? n.best : "none";
}

static void what_people_write_for_an_operation_leads_to_it(void **state)
{
    static const struct {
        const char *word, *meant;
    } rows[] = {
        {"all_reduce", "all_reduce_sum"},
        {"allreduce", "all_reduce_sum"},
        {"AllReduceSum", "all_reduce_sum"},
        {"all-reduce-max", "all_reduce_max"},
        {"all_redcue_sum", "all_reduce_sum"},
        {"reduce", "reduce_sum"},
        {"allgather", "all_gather"},
        {"reduce_scatter", "reduce_scatter_sum"},
        {"ReduceScatter", "reduce_scatter_sum"},
        {"all2all", "all_to_all"},
        {"alltoall", "all_to_all"},
        {"bcast", "none"},
        {"brodcast", "broadcast"},
        {"send", "remote_send"},
        {"recv", "remote_recv"},
        {"all_gather_into_tensor", "all_gather"},
        {"scater", "scatter"},
        {"transpose", "none"},
        {"", "none"},
        {"_", "none"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(nearest_op(rows[i].word), rows[i].meant) != 0)
            fail_msg("%s: %s", rows[i].word, nearest_op(rows[i].word));
    }
}

static void every_operation_is_nearest_to_itself(void **state)
{
    (void)state;
    for (int i = 0; i < OP_COUNT; i++)
        assert_string_equal(nearest_op(ops[i].name), ops[i].name);
}

static void a_word_of_any_length_is_compared(void **state)
{
    char word[200];

    (void)state;
    for (size_t len = 0; len < sizeof word; len++) {
        memset(word, 'a', len);
        word[len] = '\0';
        nearest_op(word);
    }
    assert_string_equal(nearest_op("all_reduce_sum_of_everything_that_there_is_anywhere"), "none");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_people_write_for_an_operation_leads_to_it),
        cmocka_unit_test(every_operation_is_nearest_to_itself),
        cmocka_unit_test(a_word_of_any_length_is_compared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
