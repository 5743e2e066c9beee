/* test_tensor.c - rules of the tensor table: references, removal, expiry. */
#include "tests/unit/arena_house.h"

#include "server/tensor.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state)
{
    struct err e;

    (void)state;
    if (arena_house_open("/tmp/tutti-tensor-XXXXXX", 4 << 20) != 0)
        return -1;
    return extent_init(arena, &e) | tensor_table_init(&e);
}

static int teardown(void **state)
{
    (void)state;
    tensor_table_fini();
    extent_fini();
    return arena_house_close();
}

static uint64_t live_extents(void)
{
    struct extent_usage u;

    extent_usage(&u);
    return u.extents;
}

static struct tensor *make(uint64_t elements)
{
    struct shape s = {.ndim = 1, .dim = {elements}};
    struct extent *x = NULL;
    struct tensor *t;

    assert_int_equal(extent_alloc(elements * 4, &x, NULL), 0);
    t = tensor_new(DTYPE_float32, &s, x, 0);
    assert_non_null(t);
    extent_unref(x);
    return t;
}

/* In the table, and nobody else's. */
static struct id publish(uint64_t expires_us)
{
    struct tensor *t = make(1);
    struct id id = t->id;

    t->expires_us = expires_us;
    assert_int_equal(tensor_publish(t), 0);
    tensor_unref(t);
    return id;
}

static void a_published_tensor_is_found_by_its_id_alone(void **state)
{
    struct tensor *t = make(6), *found;
    struct id other = id_new();

    (void)state;
    assert_int_equal(t->size_bytes, 24);
    assert_null(tensor_find(&t->id));
    assert_int_equal(tensor_publish(t), 0);
    found = tensor_find(&t->id);
    assert_ptr_equal(found, t);
    assert_ptr_equal(tensor_data(t), extent_bytes(t->extent));
    assert_int_equal(tensor_arena_offset(t), extent_offset(t->extent));
    assert_null(tensor_find(&other));
    assert_null(tensor_remove(&other));
    tensor_unref(found);
    tensor_unref(t);
    assert_int_equal(tensor_count(), 1);
    assert_int_equal(live_extents(), 1);
}

static void a_found_tensor_outlives_its_removal(void **state)
{
    struct id id = publish(UINT64_MAX);
    struct tensor *reader = tensor_find(&id), *removed = tensor_remove(&id);

    (void)state;
    assert_ptr_equal(reader, removed);
    assert_null(tensor_find(&id));
    tensor_unref(removed);
    assert_int_equal(live_extents(), 1);
    memset(tensor_data(reader), 1, reader->size_bytes);
    tensor_unref(reader);
    assert_int_equal(live_extents(), 0);
}

static void a_view_keeps_the_extent_it_lies_in(void **state)
{
    struct shape s = {.ndim = 1, .dim = {2}};
    struct tensor *whole = make(4), *view = tensor_new(DTYPE_float32, &s, whole->extent, 8);

    (void)state;
    assert_ptr_equal(tensor_data(view), tensor_data(whole) + 8);
    tensor_unref(whole);
    assert_int_equal(live_extents(), 1);
    tensor_unref(view);
    tensor_unref(NULL);
    assert_int_equal(live_extents(), 0);
}

static void a_lost_tensor_has_no_data(void **state)
{
    struct shape s = {.ndim = 0};
    struct tensor *t = tensor_new(DTYPE_float32, &s, NULL, 0);

    (void)state;
    assert_null(tensor_data(t));
    assert_int_equal(tensor_publish(t), 0);
    tensor_unref(t);
}

static void the_table_holds_any_number(void **state)
{
    enum { MANY = 5000 };
    static struct id id[MANY];

    (void)state;
    for (int i = 0; i < MANY; i++)
        id[i] = publish(i % 3 ? UINT64_MAX : (uint64_t)i);
    assert_int_equal(tensor_count(), MANY);
    for (int i = 0; i < MANY; i++) {
        struct tensor *t = tensor_find(&id[i]);

        assert_non_null(t);
        tensor_unref(t);
    }
    for (int i = 0; i < MANY; i += 2)
        tensor_unref(tensor_remove(&id[i]));
    assert_int_equal(tensor_count(), MANY / 2);
    assert_int_equal(live_extents(), MANY / 2);
}

static void tensors_expire_soonest_first_and_not_before(void **state)
{
    static const uint64_t when[] = {50, 10, 40, UINT64_MAX, 30, 20, 60};
    struct id id[7];
    struct tensor *out[8];

    (void)state;
    for (int i = 0; i < 7; i++)
        id[i] = publish(when[i]);
    assert_int_equal(tensor_take_expired(10, out, 8), 0);
    assert_int_equal(tensor_take_expired(41, out, 2), 2);
    assert_true(id_equal(&out[0]->id, &id[1]));
    assert_true(id_equal(&out[1]->id, &id[5]));
    assert_null(tensor_find(&id[1]));
    assert_int_equal(tensor_take_expired(41, out + 2, 6), 2);
    for (int i = 0; i < 4; i++)
        tensor_unref(out[i]);
    assert_int_equal(tensor_count(), 3);
    assert_int_equal(tensor_take_expired(UINT64_MAX, out, 8), 2);
    tensor_unref(out[0]);
    tensor_unref(out[1]);
    assert_int_equal(tensor_count(), 1);
}

static void what_somebody_holds_does_not_expire_and_blocks_nobody(void **state)
{
    struct id held = publish(10), other = publish(20);
    struct tensor *reader = tensor_find(&held), *out[4];

    (void)state;
    assert_int_equal(tensor_take_expired(100, out, 4), 1);
    assert_true(id_equal(&out[0]->id, &other));
    tensor_unref(out[0]);
    assert_int_equal(tensor_take_expired(101, out, 4), 0);
    assert_int_equal(reader->expires_us, 10);
    tensor_unref(reader);
    assert_int_equal(tensor_take_expired(2000000, out, 4), 1);
    tensor_unref(out[0]);
    assert_int_equal(tensor_count(), 0);
}

static void expiry_may_be_set_moved_and_lifted(void **state)
{
    struct id a = publish(UINT64_MAX), b = publish(10);
    struct tensor *ta = tensor_find(&a), *tb = tensor_find(&b), *out[4];

    (void)state;
    tensor_expire(ta, 20);
    tensor_expire(tb, UINT64_MAX);
    tensor_unref(ta);
    tensor_unref(tb);
    assert_int_equal(tensor_take_expired(1000, out, 4), 1);
    assert_ptr_equal(out[0], ta);
    tensor_expire(ta, 30); /* out of the table: only remembered */
    tensor_unref(ta);
    assert_int_equal(tensor_take_expired(1000, out, 4), 0);
    assert_int_equal(tensor_count(), 1);
}

/* The heap against a plain count, under random moves. */
static void the_heap_stays_a_heap(void **state)
{
    enum { N = 300 };
    static struct id id[N];
    static uint64_t when[N];
    static struct tensor *out[N];
    uint64_t r = 7;
    uint32_t expect = 0;

    (void)state;
    for (int i = 0; i < N; i++)
        id[i] = publish(when[i] = 1000);
    for (int i = 0; i < 20000; i++) {
        uint32_t k = (uint32_t)((r = r * 6364136223846793005ull + 1442695040888963407ull) >> 33) %
                     N;
        struct tensor *t = tensor_find(&id[k]);

        when[k] = r >> 20 & 7 ? r >> 40 : UINT64_MAX;
        tensor_expire(t, when[k]);
        tensor_unref(t);
    }
    for (int i = 0; i < N; i++)
        expect += when[i] < 1 << 23;
    assert_int_equal(tensor_take_expired(1 << 23, out, N), expect);
    for (uint32_t i = 1; i < expect; i++)
        assert_true(out[i - 1]->expires_us <= out[i]->expires_us);
    for (uint32_t i = 0; i < expect; i++)
        tensor_unref(out[i]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_published_tensor_is_found_by_its_id_alone),
        TEST(a_found_tensor_outlives_its_removal),
        TEST(a_view_keeps_the_extent_it_lies_in),
        TEST(a_lost_tensor_has_no_data),
        TEST(the_table_holds_any_number),
        TEST(tensors_expire_soonest_first_and_not_before),
        TEST(what_somebody_holds_does_not_expire_and_blocks_nobody),
        TEST(expiry_may_be_set_moved_and_lifted),
        TEST(the_heap_stays_a_heap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
