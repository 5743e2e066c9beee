/* test_gloo_plan.c - plans among hosts, of all ranks side by side, without a wire: what one sends,
 * the other waits for, later; every byte of every output is written once; no byte comes to a host
 * twice.
 */
#include "tests/unit/unit.h"

#include "worker/gloo/cost.h"
#include "worker/gloo/plan.h"
#include "worker/reduce.h"
#include "worker/reduce_part.h"

#include <stdlib.h>
#include <string.h>

#define RANKS 8
/* No plan looks at the bytes: places where nothing is. */
#define INPUTS ((uint8_t *)0x100000000000)
#define OUTPUTS ((uint8_t *)0x200000000000)

/* Of whole groups; -1 ends them. */
static const int patterns[][RANKS + 1] = {
    {0, 0, 1, 1, -1},
    {0, 1, 0, 1, -1},
    {0, 1, -1},
    {0, 1, 2, 3, 4, -1},
    {0, 0, 0, 1, -1},
    {0, 1, 1, 2, 0, 2, -1},
    {0, 0, 1, 2, -1},
    {0, 1, 2, 2, 2, 1, 1, 0, -1},
    {0, 0, 0, 0, 1, 1, 1, 1, -1},
    {0, -1},
    {0, 0, -1},
};

/* A job on a group: every rank's task, map and plan. */
struct job {
    uint32_t n;
    uint32_t hosts[RANKS];
    struct task tasks[RANKS];
    const uint8_t *inputs[RANKS][RANKS];
    uint8_t *outputs[RANKS][RANKS];
    struct map *maps[RANKS];
    struct plan plans[RANKS];
};

/* Everybody's input lies at one place and everybody's output at another: only who has which is
 * asked. */
static void set_task(struct job *j, uint32_t me, const struct op *op, enum dtype d,
                     const struct shape *in)
{
    struct task *t = &j->tasks[me];
    bool one_host = j->maps[me]->apart;
    struct err e;

    *t = (struct task){.op = op, .dtype = d, .n = j->n, .rank = me, .in = *in};
    t->params = (struct op_params){.split_axis = 0, .concat_axis = 1, .src = j->n - 1, .dst = 0};
    assert_int_equal(op_out_shape(op, &t->params, j->n, in, &t->out, &e), 0);
    assert_int_equal(shape_measure(&t->in, d, NULL, &t->in_bytes, &e), 0);
    assert_int_equal(shape_measure(&t->out, d, NULL, &t->out_bytes, &e), 0);
    for (uint32_t r = 0; r < j->n; r++) {
        bool here = one_host || j->hosts[r] == j->hosts[me];

        j->inputs[me][r] = here && op_gives(op, &t->params, r) ? INPUTS : NULL;
        j->outputs[me][r] = here && op_gets(op, &t->params, r) ? OUTPUTS + (one_host ? r : 0)
                                                               : NULL;
    }
    t->inputs = j->inputs[me];
    t->outputs = j->outputs[me];
}

static void make_plans(struct job *j, const int *pattern, const struct op *op, enum dtype d,
                       uint64_t rows)
{
    struct shape in = {.ndim = 2};
    struct err e;

    *j = (struct job){0};
    while (pattern[j->n] >= 0) {
        j->hosts[j->n] = (uint32_t)pattern[j->n];
        j->n++;
    }
    in.dim[0] = (int64_t)(rows * j->n);
    in.dim[1] = 40;
    for (uint32_t r = 0; r < j->n; r++) {
        struct task *one = &j->tasks[r];

        j->maps[r] = map_new(j->n, r, j->hosts);
        set_task(j, r, op, d, &in);
        assert_int_equal(plan_of(&j->plans[r], j->maps[r], &one, 1, &e), 0);
    }
}

static void drop(struct job *j)
{
    for (uint32_t r = 0; r < j->n; r++) {
        plan_free(&j->plans[r]);
        map_free(j->maps[r]);
    }
}

static uint64_t wire_bytes(const struct station *s, bool parts)
{
    const struct task *t = s->task;

    return s->items *
           (parts ? dtypes[reduce_part_dtype(t->dtype, t->op->reduce)].size_bytes : s->item_bytes);
}

/* The station of a rank that waits for what `from` sends under that tag; exactly one. */
static const struct station *receiver(const struct job *j, uint32_t rank, uint32_t from,
                                      uint32_t tag)
{
    const struct station *found = NULL;

    for (uint32_t i = 0; i < j->plans[rank].n; i++) {
        const struct station *s = j->plans[rank].stations[i];

        for (uint32_t k = 0; k < s->n_terms; k++) {
            if (s->terms[k].here || s->terms[k].peer != from || s->terms[k].tag != tag)
                continue;
            assert_null(found);
            found = s;
        }
    }
    assert_non_null(found);
    return found;
}

/* Returns the bytes that all hosts send. */
static uint64_t check_hops(const struct job *j)
{
    uint64_t bytes = 0, sent = 0, awaited = 0;

    for (uint32_t r = 0; r < j->n; r++) {
        for (uint32_t i = 0; i < j->plans[r].n; i++) {
            const struct station *s = j->plans[r].stations[i];

            for (uint32_t k = 0; k < s->n_terms; k++)
                awaited += !s->terms[k].here;
            for (uint32_t k = 0; k < s->n_to; k++, sent++) {
                const struct station *to = receiver(j, s->to[k].peer, r, s->to[k].tag);

                assert_int_not_equal(j->maps[r]->host[r], j->maps[r]->host[s->to[k].peer]);
                assert_int_equal(to->items, s->items);
                assert_int_equal(to->chunk, s->chunk);
                assert_int_equal(wire_bytes(to, to->parts_in), wire_bytes(s, s->parts_out));
                assert_true(to->first >= s->first + PLAN_LEAD);
                bytes += wire_bytes(s, s->parts_out);
            }
        }
    }
    assert_int_equal(sent, awaited);
    return bytes;
}

/* Every byte of the outputs of a host is written once, by one of its ranks. */
static void check_outputs(const struct job *j, uint32_t host)
{
    const struct task *t = &j->tasks[0];
    uint64_t written = 0, wanted = 0;

    for (uint32_t r = 0; r < j->n; r++) {
        bool shared = op_shares_output(t->op), counted = shared && wanted > 0;

        if (j->maps[r]->host[r] != host)
            continue;
        if (op_gets(t->op, &t->params, r) && !counted)
            wanted += t->out_bytes;
        for (uint32_t i = 0; i < j->plans[r].n; i++) {
            const struct station *s = j->plans[r].stations[i];

            written += s->out ? s->items * s->item_bytes : 0;
        }
    }
    assert_int_equal(written, wanted);
}

static void for_each_job(void (*look)(const struct job *j, uint64_t wire_bytes))
{
    static const uint64_t rows[] = {0, 1, 6000};
    static struct job j;

    reduce_init();
    for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
        for (const struct op *op = ops; op < ops + OP_COUNT; op++) {
            for (int d = 0; d < DTYPE_COUNT; d++) {
                struct err e;

                if (op_check_dtype(op, (enum dtype)d, &e) != 0 ||
                    (op->kind == KIND_SEND_RECV && patterns[p][1] < 0))
                    continue;
                for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                    make_plans(&j, patterns[p], op, (enum dtype)d, rows[i]);
                    look(&j, check_hops(&j));
                    drop(&j);
                }
            }
        }
    }
}

static void look_at_hops(const struct job *j, uint64_t wire_bytes_)
{
    (void)j;
    (void)wire_bytes_;
}

static void what_is_sent_is_waited_for_and_later(void **state)
{
    (void)state;
    for_each_job(look_at_hops);
}

static void look_at_outputs(const struct job *j, uint64_t wire_bytes_)
{
    (void)wire_bytes_;
    for (uint32_t h = 0; h < j->maps[0]->n_hosts; h++)
        check_outputs(j, h);
}

static void every_byte_of_an_output_is_written_once(void **state)
{
    (void)state;
    for_each_job(look_at_outputs);
}

/* What has to come to a host from others, at least, where nothing is reduced. */
static uint64_t least(const struct job *j, uint32_t host)
{
    const struct task *t = &j->tasks[0];
    const struct map *m = j->maps[0];
    uint32_t here = map_size(m, host), root = m->host[0] == host;

    switch (t->op->kind) {
    case KIND_BROADCAST:
        return root ? 0 : t->in_bytes;
    case KIND_ALL_GATHER:
        return (m->n - here) * t->in_bytes;
    case KIND_GATHER:
        return root ? (m->n - here) * t->in_bytes : 0;
    case KIND_SCATTER:
        return root ? 0 : here * t->out_bytes;
    case KIND_ALL_TO_ALL:
        return here * (t->in_bytes / m->n) * (m->n - here);
    case KIND_SEND_RECV:
        return m->host[t->params.dst] == host && m->host[t->params.src] != host ? t->in_bytes : 0;
    default:
        return 0;
    }
}

static void look_at_bytes(const struct job *j, uint64_t wire_bytes_)
{
    uint64_t sum = 0;

    for (uint32_t h = 0; h < j->maps[0]->n_hosts; h++)
        sum += least(j, h);
    if (j->tasks[0].op->reduce == REDUCE_NONE)
        assert_int_equal(wire_bytes_, sum);
}

static void what_is_moved_comes_to_a_host_once(void **state)
{
    (void)state;
    for_each_job(look_at_bytes);
}

/* 2 (n - 1) S is the least that n hosts can send for an all_reduce of S bytes. */
static void a_large_all_reduce_sends_the_least(void **state)
{
    static struct job j;

    (void)state;
    reduce_init();
    for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
        const struct op *op = op_find("all_reduce_sum", strlen("all_reduce_sum"));
        uint64_t hosts;

        make_plans(&j, patterns[p], op, DTYPE_float32, 6000);
        hosts = j.maps[0]->n_hosts;
        if (j.maps[0]->n_runs == hosts)
            assert_int_equal(check_hops(&j), 2 * (hosts - 1) * j.tasks[0].out_bytes);
        drop(&j);
        make_plans(&j, patterns[p], op, DTYPE_int32, 6000); /* in any order */
        assert_int_equal(check_hops(&j), 2 * (hosts - 1) * j.tasks[0].out_bytes);
        drop(&j);
    }
}

static void small_reductions_meet_in_one_hop(void **state)
{
    struct map *m = map_new(4, 0, (uint32_t[]){0, 0, 1, 1});
    struct task t = {
        .op = op_find("all_reduce_sum", strlen("all_reduce_sum")), .dtype = DTYPE_float32, .n = 4};

    (void)state;
    t.in_bytes = t.out_bytes = 4096;
    assert_int_equal(cost_all_reduce(m, &t), WAY_MEET);
    assert_int_equal(cost_reduce(m, &t), WAY_MEET);
    assert_int_equal(cost_reduce_scatter(m, &t), WAY_MEET);
    t.in_bytes = t.out_bytes = 1 << 20;
    assert_int_equal(cost_all_reduce(m, &t), WAY_CHAIN);
    t.dtype = DTYPE_int32;
    assert_int_not_equal(cost_all_reduce(m, &t), WAY_MEET);
    map_free(m);
}

static void hosts_and_runs_are_counted_in_group_order(void **state)
{
    struct map *m = map_new(6, 3, (uint32_t[]){7, 2, 2, 7, 5, 7});

    (void)state;
    assert_int_equal(m->n_hosts, 3);
    assert_int_equal(m->lanes, 1);
    assert_int_equal(m->largest, 3);
    assert_int_equal(m->n_runs, 5);
    assert_int_equal(m->host[3], 0);
    assert_int_equal(m->place[3], 1);
    assert_int_equal(map_speaker(m, 0, 2), 5);
    assert_int_equal(map_speaker(m, 1, 2), 1);
    assert_false(m->apart);
    map_free(m);
    m = map_new(3, 0, NULL);
    assert_true(m->apart);
    assert_int_equal(m->n_hosts, 3);
    map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent_is_waited_for_and_later),
        cmocka_unit_test(every_byte_of_an_output_is_written_once),
        cmocka_unit_test(what_is_moved_comes_to_a_host_once),
        cmocka_unit_test(a_large_all_reduce_sends_the_least),
        cmocka_unit_test(small_reductions_meet_in_one_hop),
        cmocka_unit_test(hosts_and_runs_are_counted_in_group_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
