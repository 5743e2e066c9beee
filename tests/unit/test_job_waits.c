/* test_job_waits.c - who waits for a job: clients that hang up, deadlines, the end of the service.
 */
#include "tests/unit/job_house.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

static void a_client_that_hangs_up_is_answered_as_gone_and_its_job_goes_on(void **state)
{
    struct request *waiting = request(LONG), *early = request(LONG);
    struct id id;

    (void)state;
    id = submit_sum(waiting);
    commit();
    job_wait_drop(&waiting->wait);
    core_turn(0);
    assert_int_equal(waiting->answers, 1);
    assert_true(waiting->wait.gone);
    job_wait_drop(&early->wait); /* before its request is on the way */
    core_turn(0);
    assert_int_equal(early->answers, 0);
    job_watch(&id, &early->wait);
    core_turn(0);
    assert_int_equal(early->answers, 1);
    assert_true(early->wait.gone);
    all_done();
    commit();
    assert_int_equal(finishes, 1);
    assert_int_equal(waiting->answers, 1);
    request_free(waiting);
    request_free(early);
}

/* The drop's message is in the inbox when the answer comes: the wait must outlive it. */
static void an_answer_that_meets_a_drop_is_delivered_once_by_the_drop(void **state)
{
    struct request *r = request(LONG), *answered = request(0);

    (void)state;
    submit_sum(r);
    commit();
    all_done();
    job_wait_drop(&r->wait);
    commit();
    core_turn(0);
    assert_int_equal(r->answers, 1);
    assert_true(r->wait.gone);
    submit_sum(answered);
    commit();
    assert_int_equal(answered->answers, 1);
    job_wait_drop(&answered->wait); /* after the answer: nothing */
    core_turn(0);
    assert_int_equal(answered->answers, 1);
    assert_false(answered->wait.gone);
    request_free(r);
    request_free(answered);
}

static void drop_then_answer_in_one_turn(struct core_msg *m)
{
    struct request *r = CORE_OWNER(m, struct request, wait.msg);

    job_wait_drop(&r->wait); /* as the watch thread would, at the worst moment */
    core_timer_set(&r->wait.timer, clock_us());
}

static void a_deadline_that_meets_a_drop_answers_once(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    submit_sum(r);
    commit();
    r->wait.msg.run = drop_then_answer_in_one_turn; /* begun, so it is free for the test */
    core_post(&r->wait.msg);
    core_turn(0); /* posts the drop; the deadline fires in the same turn, before it runs */
    assert_int_equal(r->answers, 0);
    core_turn(0);
    assert_int_equal(r->answers, 1);
    assert_true(r->wait.gone);
    request_free(r);
}

static void a_drain_refuses_new_jobs_and_answers_for_queued_ones(void **state)
{
    struct request *running = request(LONG), *queued = request(LONG), *late = request(LONG),
                   *fresh = request(LONG);
    struct id id;

    (void)state;
    submit_sum(running);
    id = submit_sum(queued);
    commit();
    job_drain();
    assert_answer(queued, JOB_queued);
    assert_int_equal(running->answers, 0);
    submit_sum(fresh);
    assert_int_equal(fresh->answers, 1);
    assert_int_equal(fresh->wait.err.code, ERR_draining);
    job_watch(&id, &late->wait);
    core_turn(0);
    assert_answer(late, JOB_queued);
    assert_false(job_idle());
    all_done();
    assert_false(job_idle());
    commit();
    assert_answer(running, JOB_succeeded);
    assert_true(job_idle());
    assert_int_equal(runs, 1); /* the queued one stays for the next start */
    request_free(running);
    request_free(queued);
    request_free(late);
    request_free(fresh);
}

static void the_end_of_a_drain_answers_every_wait(void **state)
{
    struct request *r = request(LONG);

    (void)state;
    submit_sum(r);
    commit();
    job_drain();
    job_drain_waits();
    assert_answer(r, JOB_running);
    request_free(r);
}

/* ---- with threads, for the thread sanitizer ---- */

#define CLIENTS 3
#define REQUESTS 400

/* One client's present request, as http.c's watch sees it: it may drop it at any time, and the
 * client frees it only when the watch has let go. */
static struct connection {
    pthread_t thread;
    pthread_mutex_t lock;
    struct threaded *now;
    uint32_t number;
} connections[CLIENTS];

struct threaded {
    struct job_wait wait;
    sem_t woken;
    bool dropped;
    atomic_uint answers;
};

static void post_woken(struct job_wait *w)
{
    struct threaded *t = CORE_OWNER(w, struct threaded, wait);

    atomic_fetch_add(&t->answers, 1);
    sem_post(&t->woken);
}

static atomic_uint wrong, clients_left;

static void one_request(struct connection *c, unsigned *seed)
{
    struct threaded *t = calloc(1, sizeof *t);
    struct job_submission *s = calloc(1, sizeof *s);

    sem_init(&t->woken, 0, 0);
    t->wait.wake = post_woken;
    t->wait.deadline_us = rand_r(seed) % 4 ? clock_us() + LONG : 0;
    s->record = record_of("all_reduce_sum", world, 1 + (uint32_t)rand_r(seed) % WORLD, 16);
    s->inputs = inputs_of(s->record);
    s->wait = &t->wait;
    pthread_mutex_lock(&c->lock);
    c->now = t;
    pthread_mutex_unlock(&c->lock);
    job_submit(s);
    while (sem_wait(&t->woken) != 0)
        ;
    pthread_mutex_lock(&c->lock);
    c->now = NULL;
    pthread_mutex_unlock(&c->lock);
    if (t->wait.rc != 0 || !t->wait.job || atomic_load(&t->answers) != 1 ||
        (t->wait.gone && !t->dropped))
        atomic_fetch_add(&wrong, 1);
    record_free(t->wait.job);
    sem_destroy(&t->woken);
    free(t);
}

static void *client(void *arg)
{
    struct connection *c = arg;
    unsigned seed = c->number;

    for (int i = 0; i < REQUESTS; i++)
        one_request(c, &seed);
    atomic_fetch_sub(&clients_left, 1);
    return NULL;
}

/* Hangs up on requests as fast as it can. */
static void watch_all(void)
{
    unsigned seed = 1;

    while (atomic_load(&clients_left) > 0) {
        struct connection *c = &connections[rand_r(&seed) % CLIENTS];

        pthread_mutex_lock(&c->lock);
        if (c->now && !c->now->dropped && rand_r(&seed) % 3 == 0) {
            c->now->dropped = true;
            job_wait_drop(&c->now->wait);
        }
        pthread_mutex_unlock(&c->lock);
        if (rand_r(&seed) % 64 == 0)
            usleep(50);
    }
}

static void requests_of_many_threads_are_answered_once_each_whoever_hangs_up(void **state)
{
    struct err e;

    (void)state;
    at_once = true;
    atomic_store(&wrong, 0);
    atomic_store(&clients_left, CLIENTS);
    assert_int_equal(core_start(&e), 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        connections[i].number = i;
        pthread_mutex_init(&connections[i].lock, NULL);
        assert_int_equal(pthread_create(&connections[i].thread, NULL, client, &connections[i]), 0);
    }
    watch_all();
    for (uint32_t i = 0; i < CLIENTS; i++)
        pthread_join(connections[i].thread, NULL);
    for (int i = 0; i < 1000 && !job_idle(); i++)
        usleep(1000);
    core_stop();
    at_once = false;
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(job_idle());
    assert_int_equal(runs, CLIENTS * REQUESTS);
    check();
    assert_extents(tensor_count());
}
int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_client_that_hangs_up_is_answered_as_gone_and_its_job_goes_on),
        T(an_answer_that_meets_a_drop_is_delivered_once_by_the_drop),
        T(a_deadline_that_meets_a_drop_answers_once),
        T(a_drain_refuses_new_jobs_and_answers_for_queued_ones),
        T(the_end_of_a_drain_answers_every_wait),
        T(requests_of_many_threads_are_answered_once_each_whoever_hangs_up),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
