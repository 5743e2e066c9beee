/* test_scheduler.c - one global order over the ranks' queues, with a runner that is only pretended.
 */
#include "tests/unit/queues.h"

#include <time.h>

static void a_job_waits_for_every_one_of_its_ranks(void **state)
{
    const uint32_t ranks[] = {3, 1, 6};
    struct job *j = job_of(ranks, 3, 0), *same = job_of(ranks, 3, 0);

    (void)state;
    scheduler_add(j);
    scheduler_next();
    assert_false(scheduler_idle(j->record));
    scheduler_rank(3, 0, true);
    scheduler_rank(6, 0, true);
    scheduler_next();
    assert_int_equal(started, 0);
    scheduler_rank(3, 0, false); /* and back again: it does not count twice */
    scheduler_rank(1, 0, true);
    scheduler_next();
    assert_int_equal(started, 0);
    scheduler_rank(3, 0, true);
    scheduler_next();
    assert_int_equal(started, 1);
    check();
    assert_false(scheduler_idle(same->record));
    end(j);
    assert_true(scheduler_idle(same->record));
    j = job_of((uint32_t[]){6}, 1, 0); /* wanted, if only for the blink until scheduler_next */
    scheduler_add(j);
    assert_false(scheduler_idle(same->record));
    scheduler_next();
    end(j);
    job_gone(same);
}

static void disjoint_groups_run_side_by_side_and_overlapping_ones_in_order(void **state)
{
    struct job *a = job_of((uint32_t[]){0, 1}, 2, 0), *b = job_of((uint32_t[]){1, 2}, 2, 0),
               *c = job_of((uint32_t[]){4, 5}, 2, 0), *d = job_of((uint32_t[]){2}, 1, 0);

    (void)state;
    all_ready();
    scheduler_add(a);
    scheduler_add(b);
    scheduler_add(c);
    scheduler_add(d);
    scheduler_next();
    assert_ptr_equal(running[0], a);
    assert_ptr_equal(running[4], c);
    assert_null(running[2]); /* d is behind b, which waits for rank 1 */
    check();
    end(a);
    assert_ptr_equal(running[1], b);
    end(b);
    assert_ptr_equal(running[2], d);
    end(c);
    end(d);
    check();
}

static void a_higher_priority_goes_first_and_equals_go_by_age(void **state)
{
    struct job *low = job_of((uint32_t[]){0}, 1, -100), *old = job_of((uint32_t[]){0}, 1, 0),
               *young = job_of((uint32_t[]){0}, 1, 0), *high = job_of((uint32_t[]){0}, 1, 100);
    struct job *want[] = {high, old, young, low};

    (void)state;
    scheduler_add(low);
    scheduler_add(old);
    scheduler_add(young);
    scheduler_add(high);
    check();
    scheduler_rank(0, 0, true);
    scheduler_next();
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(running[0], want[i]);
        end(want[i]);
    }
}

static void a_job_whose_rank_died_goes_back_to_its_place(void **state)
{
    struct job *a = job_of((uint32_t[]){0, 1}, 2, 0), *b = job_of((uint32_t[]){0}, 1, 0),
               *c = job_of((uint32_t[]){1}, 1, 0);

    (void)state;
    all_ready();
    scheduler_add(a);
    scheduler_next();
    scheduler_add(b);
    scheduler_add(c);
    running[0] = running[1] = NULL;
    scheduler_rank(0, 0, true); /* rank 1 is gone */
    scheduler_add(a);
    scheduler_next();
    check();
    assert_null(running[0]); /* b does not overtake a */
    scheduler_rank(1, 0, true);
    scheduler_next();
    assert_ptr_equal(running[0], a);
    end(a);
    assert_ptr_equal(running[0], b);
    assert_ptr_equal(running[1], c);
    end(b);
    end(c);
}

static void a_job_without_room_waits_and_others_pass_on_other_ranks_only(void **state)
{
    struct job *big = job_of((uint32_t[]){0, 1}, 2, 0), *behind = job_of((uint32_t[]){0}, 1, 0),
               *beside = job_of((uint32_t[]){2}, 1, 0);

    (void)state;
    all_ready();
    no_room = true;
    scheduler_add(big);
    scheduler_add(behind);
    scheduler_next();
    scheduler_next();
    assert_int_equal(blocked, 1); /* asked once, not in a circle */
    no_room = false;
    scheduler_add(beside);
    scheduler_next();
    assert_ptr_equal(running[2], beside);
    assert_null(running[0]);
    check();
    scheduler_freed();
    scheduler_next();
    assert_ptr_equal(running[0], big);
    end(big);
    assert_ptr_equal(running[0], behind);
    end(behind);
    end(beside);
}

static void a_cancelled_job_lets_the_next_one_through(void **state)
{
    struct job *wide = job_of((uint32_t[]){0, 7}, 2, 0), *next = job_of((uint32_t[]){0}, 1, 0);

    (void)state;
    scheduler_rank(0, 0, true); /* 7 never comes */
    scheduler_add(wide);
    scheduler_add(next);
    scheduler_next();
    assert_int_equal(started, 0);
    scheduler_remove(wide, true);
    scheduler_next();
    assert_ptr_equal(running[0], next);
    check();
    end(next);
    job_gone(wide);
}

static void jobs_of_a_rank_that_is_away_make_way_and_come_back_to_their_place(void **state)
{
    struct job *wide = job_of((uint32_t[]){0, 1}, 2, 0), *behind = job_of((uint32_t[]){0}, 1, 0),
               *later = job_of((uint32_t[]){1, 0}, 2, 0), *last = job_of((uint32_t[]){0}, 1, 0);

    (void)state;
    scheduler_rank(0, 0, true);
    scheduler_add(wide);
    scheduler_add(behind);
    scheduler_next();
    assert_int_equal(started, 0); /* rank 1 may be there in a moment */
    scheduler_away(1, true);
    scheduler_next();
    assert_ptr_equal(running[0], behind);
    check();
    scheduler_add(later);
    end(behind);
    assert_int_equal(started, 1);
    assert_true(scheduler_idle(last->record)); /* those that are parked want nothing */
    scheduler_away(1, false);
    scheduler_add(last);
    scheduler_next();
    assert_int_equal(started, 1); /* it is about to be there: now they wait for it */
    check();
    scheduler_rank(1, 0, true);
    scheduler_next();
    assert_ptr_equal(running[0], wide);
    end(wide);
    assert_ptr_equal(running[0], later);
    end(later);
    assert_ptr_equal(running[0], last);
    end(last);
}

static void a_job_is_parked_until_the_last_of_its_ranks_is_back(void **state)
{
    struct job *j = job_of((uint32_t[]){0, 1, 2}, 3, 0), *gone = job_of((uint32_t[]){1, 2}, 2, 0),
               *died = job_of((uint32_t[]){0, 2}, 2, 0);

    (void)state;
    all_ready();
    scheduler_add(died);
    scheduler_next();
    scheduler_add(j);
    scheduler_add(gone);
    scheduler_away(2, true);
    scheduler_away(1, true);
    scheduler_away(1, true); /* said twice, it is one */
    scheduler_rank(2, 0, false);
    running[0] = running[2] = NULL;
    scheduler_rank(0, 0, true);
    scheduler_add(died); /* the last to be parked, and the oldest */
    scheduler_remove(gone, false);
    scheduler_away(1, false);
    scheduler_next();
    check();
    assert_int_equal(started, 1);
    scheduler_away(2, false);
    scheduler_rank(2, 0, true);
    scheduler_next();
    check();
    assert_ptr_equal(running[0], died);
    end(died);
    assert_ptr_equal(running[1], j);
    end(j);
    job_gone(gone);
}

static void nothing_starts_while_draining(void **state)
{
    struct job *j = job_of((uint32_t[]){0}, 1, 0);

    (void)state;
    all_ready();
    scheduler_drain();
    scheduler_add(j);
    scheduler_next();
    assert_int_equal(started, 0);
    job_gone(j);
}

/* What begin does with small jobs: takes what follows while the ranks are still ready. */
static enum job_begun begin_with_followers(struct job *j)
{
    struct job *batch[WORLD] = {j};
    uint32_t n = 0;

    do {
        scheduler_remove(batch[n++], true);
        batch[n] = scheduler_follower(j);
    } while (batch[n] && n < WORLD - 1);
    for (uint32_t i = 0; i < j->record->n; i++)
        scheduler_rank(j->record->ranks[i], scheduler_lane(j->record), false);
    order_of[0][started++] = n;
    for (uint32_t i = 0; i < n; i++)
        job_gone(batch[i]);
    return JOB_BEGUN;
}

static void only_the_next_job_of_the_same_ranks_and_stream_follows(void **state)
{
    static const struct {
        uint32_t ranks[2], n, stream;
    } jobs[] = {{{0, 1}, 2, 0}, {{0, 1}, 2, 0}, {{0, 1}, 2, 0},  /* three as one */
                {{1, 0}, 2, 0},                                  /* another order */
                {{0, 1}, 2, 3},                                  /* another stream */
                {{0, 1}, 2, 0}, {{1}, 1, 0},    {{0, 1}, 2, 0}}; /* not past one that is older */
    static const uint64_t want[] = {3, 1, 1, 1, 1, 1};
    struct err e;

    (void)state;
    scheduler_fini();
    assert_int_equal(scheduler_init(WORLD, 1, begin_with_followers, &e), 0);
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        struct job *j = job_of(jobs[i].ranks, jobs[i].n, 0);

        j->record->stream = jobs[i].stream;
        scheduler_add(j);
    }
    for (uint32_t turn = 0; turn < 6; turn++) {
        all_ready();
        scheduler_next();
        check();
    }
    assert_int_equal(started, 6);
    assert_memory_equal(order_of[0], want, sizeof want);
}

static void streams_overlap_where_each_has_its_lane(void **state)
{
    struct job *a = job_of((uint32_t[]){0, 1}, 2, 0), *b = job_of((uint32_t[]){1, 0}, 2, 0),
               *c = job_of((uint32_t[]){0}, 1, 0);
    struct err e;

    (void)state;
    scheduler_fini();
    assert_int_equal(scheduler_init(WORLD, 2, begin_with_followers, &e), 0);
    b->record->stream = 1;
    for (uint32_t r = 0; r < 2; r++) {
        scheduler_rank(r, 0, true);
        scheduler_rank(r, 1, true);
    }
    scheduler_add(a);
    scheduler_add(b);
    scheduler_add(c); /* behind a, on its stream */
    scheduler_next();
    assert_int_equal(started, 2);
    check();
    scheduler_rank(0, 1, true);
    scheduler_next();
    assert_int_equal(started, 2);
    scheduler_rank(0, 0, true);
    scheduler_next();
    assert_int_equal(started, 3);
    check();
}

/* Shuffles 0..WORLD-1 and takes the first n. */
static uint32_t random_group(uint32_t *ranks)
{
    for (uint32_t i = 0; i < WORLD; i++)
        ranks[i] = i;
    for (uint32_t i = WORLD - 1; i > 0; i--) {
        uint32_t k = (uint32_t)rand() % (i + 1), t = ranks[i];

        ranks[i] = ranks[k];
        ranks[k] = t;
    }
    return 1 + (uint32_t)rand() % WORLD;
}

#define RANDOM_JOBS 10000

/* Every pair of ranks runs the jobs they share in the same order, and none is left over. */
static void random_jobs_on_overlapping_groups_all_end_in_one_order(void **state)
{
    uint32_t added = 0, retries = 0, turns = 0;

    (void)state;
    srand(11);
    all_ready();
    while (finished < RANDOM_JOBS) {
        uint32_t r = (uint32_t)rand() % WORLD;

        if (added < RANDOM_JOBS && rand() % 3) {
            uint32_t ranks[WORLD], n = random_group(ranks);

            scheduler_add(job_of(ranks, n, 0));
            added++;
            scheduler_next();
        } else if (running[r] && rand() % 50 == 0) {
            struct job *j = running[r]; /* a rank died: it comes back, and the job runs again */

            for (uint32_t i = 0; i < j->record->n; i++)
                ran_on[j->record->ranks[i]]--;
            release(j);
            scheduler_add(j);
            retries++;
            scheduler_next();
        } else if (running[r]) {
            end(running[r]);
        } else if (added == RANDOM_JOBS) {
            bool any = false;

            for (uint32_t i = 0; i < WORLD; i++)
                any |= running[i] != NULL;
            assert_true(any || finished == RANDOM_JOBS); /* else: a deadlock */
        }
        if (++turns % 500 == 0)
            check();
    }
    check();
    assert_true(retries > 50);
    for (uint32_t r = 0; r < WORLD; r++) {
        for (uint32_t i = 1; i < ran_on[r]; i++)
            assert_true(order_of[r][i] >
                        order_of[r][i - 1]); /* equal priority: by age, everywhere */
    }
}

#define MANY 100000

static void a_hundred_thousand_queued_jobs_stay_fast(void **state)
{
    clock_t start = clock();
    uint32_t ranks[WORLD];

    (void)state;
    srand(3);
    for (uint32_t i = 0; i < MANY; i++)
        scheduler_add(job_of(ranks, random_group(ranks), rand() % 201 - 100));
    check();
    all_ready();
    scheduler_next();
    while (finished < MANY) {
        for (uint32_t r = 0; r < WORLD; r++) {
            if (running[r])
                end(running[r]);
        }
    }
    /* of the CPU; a scan would take minutes */
    assert_in_range((clock() - start) / CLOCKS_PER_SEC, 0, 4);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_job_waits_for_every_one_of_its_ranks),
        T(disjoint_groups_run_side_by_side_and_overlapping_ones_in_order),
        T(a_higher_priority_goes_first_and_equals_go_by_age),
        T(a_job_whose_rank_died_goes_back_to_its_place),
        T(a_job_without_room_waits_and_others_pass_on_other_ranks_only),
        T(a_cancelled_job_lets_the_next_one_through),
        T(jobs_of_a_rank_that_is_away_make_way_and_come_back_to_their_place),
        T(a_job_is_parked_until_the_last_of_its_ranks_is_back),
        T(nothing_starts_while_draining),
        T(only_the_next_job_of_the_same_ranks_and_stream_follows),
        T(streams_overlap_where_each_has_its_lane),
        T(random_jobs_on_overlapping_groups_all_end_in_one_order),
        T(a_hundred_thousand_queued_jobs_stay_fast),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
