/* test_core.c - the core thread: order of messages, timers, watches. */
#include "server/core.h"
#include "schema/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

static int set_up(void **state)
{
    struct err e;

    (void)state;
    return core_init(&e);
}

static int tear_down(void **state)
{
    (void)state;
    core_fini();
    return 0;
}

#define POSTERS 3
#define POSTS 20000

struct numbered {
    struct core_msg msg;
    uint32_t poster, number;
};

static uint32_t next_of[POSTERS];
static atomic_uint ran, misplaced;

static void run_numbered(struct core_msg *m)
{
    struct numbered *x = CORE_OWNER(m, struct numbered, msg);

    if (!core_here() || x->number != next_of[x->poster]++)
        atomic_fetch_add(&misplaced, 1);
    free(x);
    atomic_fetch_add(&ran, 1);
}

static void *post_many(void *arg)
{
    for (uint32_t i = 0; i < POSTS; i++) {
        struct numbered *x = calloc(1, sizeof *x);

        *x = (struct numbered){.msg.run = run_numbered, .poster = *(uint32_t *)arg, .number = i};
        core_post(&x->msg);
        if (i % 1000 == 999)
            usleep(100); /* lets the core fall asleep now and then */
    }
    return NULL;
}

static void messages_run_once_each_in_the_order_of_their_poster(void **state)
{
    pthread_t threads[POSTERS];
    uint32_t names[POSTERS];
    struct err e;

    (void)state;
    memset(next_of, 0, sizeof next_of);
    atomic_store(&ran, 0);
    atomic_store(&misplaced, 0);
    assert_int_equal(core_start(&e), 0);
    assert_false(core_here());
    for (uint32_t i = 0; i < POSTERS; i++) {
        names[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &names[i]), 0);
    }
    for (uint32_t i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    core_stop();
    assert_int_equal(atomic_load(&ran), POSTERS * POSTS); /* what was posted before the stop ran */
    assert_int_equal(atomic_load(&misplaced), 0);
    assert_true(core_here());
}

#define TIMERS 500

static struct timed {
    struct core_timer timer;
    uint64_t wanted_us;
} timed[TIMERS];
static uint32_t fired;
static uint64_t last_wanted_us;

static void fire_timed(struct core_timer *t)
{
    struct timed *x = CORE_OWNER(t, struct timed, timer);

    assert_int_equal(t->slot, 0);
    assert_true(clock_us() >= x->wanted_us);
    assert_true(x->wanted_us >= last_wanted_us);
    last_wanted_us = x->wanted_us;
    fired++;
}

static void timers_fire_in_order_never_early_and_not_when_cleared(void **state)
{
    uint64_t start = clock_us();
    uint32_t cleared = 0;

    (void)state;
    srand(7);
    fired = 0;
    last_wanted_us = 0;
    memset(timed, 0, sizeof timed);
    for (uint32_t i = 0; i < TIMERS; i++) {
        timed[i].timer.fire = fire_timed;
        core_timer_set(&timed[i].timer, start + (uint64_t)(rand() % 40000));
    }
    for (uint32_t i = 0; i < TIMERS; i++) { /* each is moved, every third cleared twice */
        timed[i].wanted_us = start + (uint64_t)(rand() % 20000);
        core_timer_set(&timed[i].timer, timed[i].wanted_us);
        if (i % 3 == 0) {
            core_timer_clear(&timed[i].timer);
            core_timer_clear(&timed[i].timer);
            cleared++;
        }
    }
    while (clock_us() < start + 45000)
        core_turn(5000);
    assert_int_equal(fired, TIMERS - cleared);
}

static uint32_t woken;

static void fire_count(struct core_timer *t)
{
    (void)t;
    woken++;
}

static void a_turn_sleeps_until_the_next_timer(void **state)
{
    struct core_timer t = {.fire = fire_count};
    uint64_t start = clock_us();

    (void)state;
    woken = 0;
    core_timer_set(&t, start + 20000);
    core_turn(1000000); /* sleeps */
    core_turn(0);       /* fires */
    assert_int_equal(woken, 1);
    assert_in_range(clock_us() - start, 20000, 500000);
}

static struct core_watch pair[2];
static uint32_t readied;

/* Whichever comes first removes both: the second event of the same batch must not arrive. */
static void remove_both(struct core_watch *w, uint32_t events)
{
    (void)w;
    assert_true(events & EPOLLIN);
    readied++;
    core_watch_remove(&pair[0]);
    core_watch_remove(&pair[1]);
}

static void a_removed_watch_is_not_called_even_in_the_same_batch(void **state)
{
    int a[2], b[2];
    struct err e;

    (void)state;
    readied = 0;
    assert_int_equal(pipe(a), 0);
    assert_int_equal(pipe(b), 0);
    pair[0] = (struct core_watch){.ready = remove_both, .fd = a[0]};
    pair[1] = (struct core_watch){.ready = remove_both, .fd = b[0]};
    assert_int_equal(core_watch_add(&pair[0], EPOLLIN, &e), 0);
    assert_int_equal(core_watch_add(&pair[1], EPOLLIN, &e), 0);
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(write(b[1], "x", 1), 1);
    core_turn(0);
    core_turn(0);
    assert_int_equal(readied, 1);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static void post_again(struct core_msg *m)
{
    if (++woken < 3)
        core_post(m);
}

static void a_message_may_post_itself_again(void **state)
{
    struct core_msg m = {.run = post_again};

    (void)state;
    woken = 0;
    core_post(&m);
    for (int i = 0; i < 5; i++)
        core_turn(0);
    assert_int_equal(woken, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_run_once_each_in_the_order_of_their_poster, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(timers_fire_in_order_never_early_and_not_when_cleared,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_turn_sleeps_until_the_next_timer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_removed_watch_is_not_called_even_in_the_same_batch,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_message_may_post_itself_again, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
