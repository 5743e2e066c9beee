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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(owners_take_turns_however_many_jobs_they_have),
        T(nobody_is_made_to_pay_for_having_been_alone),
        T(turns_are_taken_within_a_priority),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
