/* test_turns.c - owners of queued jobs are served in turn. */
#include "tests/unit/queues.h"

static struct job *job_for(const char *owner, const uint32_t *ranks, uint32_t n)
{
    struct job *j = job_of(ranks, n, 0);

    j->record->owner = account_get(owner);
    scheduler_add(j);
    return j;
}

/* Ends what runs on rank 0 until nothing does; owners gets the first letters of whose jobs ran. */
static void run_all(char *owners)
{
    scheduler_next();
    while (running[0]) {
        *owners++ = running[0]->record->owner->name[0];
        end(running[0]);
        check();
    }
    *owners = '\0';
}

static void owners_take_turns_however_many_jobs_they_have(void **state)
{
    static const uint32_t both[] = {0, 1};
    char ran[64];

    (void)state;
    for (int i = 0; i < 10; i++)
        job_for("flood", both, 2);
    all_ready();
    scheduler_next(); /* one of them runs */
    for (int i = 0; i < 3; i++)
        job_for("other", both, 2);
    job_for("third", both, 2);
    run_all(ran);
    assert_string_equal(ran, "ffotfofoffffff");
}

static void nobody_is_made_to_pay_for_having_been_alone(void **state)
{
    static const uint32_t rank = 0;
    char ran[64];

    (void)state;
    all_ready();
    for (int i = 0; i < 100; i++) { /* one after the other, and nobody else wants to */
        job_for("busy", &rank, 1);
        scheduler_next();
        end(running[0]);
    }
    for (int i = 0; i < 50; i++) { /* and what was never run counts nothing */
        struct job *j = job_for("busy", &rank, 1);

        scheduler_remove(j, false);
        job_gone(j);
    }
    no_room = true;
    for (int i = 0; i < 4; i++) {
        job_for("late", &rank, 1);
        job_for("busy", &rank, 1);
    }
    no_room = false;
    run_all(ran);
    assert_string_equal(ran, "lblblblb");
}

static void turns_are_taken_within_a_priority(void **state)
{
    static const uint32_t rank = 0;
    struct job *urgent;
    char ran[64];

    (void)state;
    for (int i = 0; i < 4; i++)
        job_for("flood", &rank, 1);
    job_for("other", &rank, 1);
    urgent = job_of(&rank, 1, 5);
    urgent->record->owner = account_get("flood");
    scheduler_add(urgent);
    all_ready();
    run_all(ran);
    assert_string_equal(ran, "ffofff");
}

/* Jobs of its own for one rank, one after the other. */
static void keep_busy(uint32_t rank, const char *owner, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        job_for(owner, &rank, 1);
        scheduler_next();
        end(running[rank]);
    }
}

/* How many jobs of rank 0 begin before j does, when their owners, who are never done there, add one
 * for each of theirs that begins. */
static uint32_t begin_before(const struct job *j)
{
    static const uint32_t rank = 0;
    uint32_t n = 0;

    while (running[0] != j && n < 1000) {
        n++;
        job_for(running[0]->record->owner->name, &rank, 1);
        end(running[0]);
        check();
    }
    return n;
}

static void what_a_rank_has_had_to_do_makes_nobody_wait_at_another(void **state)
{
    static const uint32_t both[] = {0, 1};
    static const uint32_t rank = 0;
    struct job *j;

    (void)state;
    all_ready();
    keep_busy(1, "busy", 5000);
    for (int i = 0; i < 2; i++) {
        job_for("first", &rank, 1);
        job_for("second", &rank, 1);
    }
    scheduler_next();
    j = job_for("other", both, 2);
    assert_in_range(begin_before(j), 1, 4);
    while (running[0])
        end(running[0]);
}

static void one_that_runs_again_is_not_behind_turns_that_begin_anew(void **state)
{
    static const uint32_t rank = 0;
    struct job *again;

    (void)state;
    all_ready();
    for (int i = 0; i < 1000; i++)
        job_for("flood", &rank, 1);
    scheduler_next();
    while (finished < 999)
        end(running[0]);
    again = running[0]; /* of turn 1,000, and nobody waits */
    for (int i = 0; i < 2; i++) {
        job_for("first", &rank, 1);
        job_for("second", &rank, 1);
    }
    running[0] = NULL;
    scheduler_add(again);
    scheduler_rank(0, 0, true);
    scheduler_next();
    assert_in_range(begin_before(again), 0, 2);
    while (running[0])
        end(running[0]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(owners_take_turns_however_many_jobs_they_have),
        T(nobody_is_made_to_pay_for_having_been_alone),
        T(turns_are_taken_within_a_priority),
        T(what_a_rank_has_had_to_do_makes_nobody_wait_at_another),
        T(one_that_runs_again_is_not_behind_turns_that_begin_anew),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
