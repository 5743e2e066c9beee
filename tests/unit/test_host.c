/* test_host.c - hosts come and go; copies of extents there are found, shared, kept, and make room.
 */
#include "tests/unit/arena_house.h"

#include "schema/arena_header.h"
#include "server/extent.h"
#include "server/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARENA (8ull << 20)
#define HOST_ARENA (1ull << 20)
#define QUARTER ((HOST_ARENA - ARENA_HEADER_BYTES) / 4 / 64 * 64)

static struct host *host;
static struct err e;
static uint64_t nonce = 100;

static int set_up(void **state)
{
    (void)state;
    if (arena_house_open("/dev/shm/tutti-host-XXXXXX", ARENA) != 0 || extent_init(arena, &e) != 0 ||
        core_init(&e) != 0 || transfers_start(&e) != 0)
        return -1;
    host = host_join(++nonce, HOST_ARENA, "far", &e);
    return host ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    host_leave(host);
    transfers_stop();
    core_turn(0); /* it is free by now: a leak is a sanitizer's to see */
    core_fini();
    extent_fini();
    return arena_house_close();
}

static struct tensor *tensor_of(uint64_t bytes)
{
    struct shape s = {.ndim = 1, .dim = {(int64_t)bytes}};
    struct tensor *t;
    struct extent *x;

    assert_int_equal(extent_alloc(bytes, &x, &e), 0);
    t = tensor_new(DTYPE_uint8, &s, x, 0);
    extent_unref(x);
    return t;
}

/* There, and used by nobody. */
static struct copy *left_there(struct tensor *t)
{
    struct copy *c = copy_make(host, t, &e);

    assert_non_null(c);
    copy_is_whole(c);
    copy_release(c);
    return c;
}

static bool is_there(struct tensor *t)
{
    struct copy *c = copy_find(host, t);

    if (c)
        copy_release(c);
    return c != NULL;
}

static void drop(struct tensor *t)
{
    tensor_unref(t);
    core_turn(0);
}

/* ---- hosts ---- */

static void a_host_is_known_by_its_arena(void **state)
{
    struct host *other;

    (void)state;
    assert_ptr_equal(host_join(nonce, HOST_ARENA, "far", &e), host);
    assert_null(host_join(nonce, 2 * HOST_ARENA, "far", &e));
    assert_int_equal(e.code, ERR_refused);
    assert_null(host_join(nonce + 1000, 4096, "small", &e));
    assert_int_equal(e.code, ERR_refused);
    other = host_join(nonce + 1000, HOST_ARENA, "other", &e);
    assert_ptr_not_equal(other, host);
    host_leave(other);
    host_leave(host); /* tear_down's is the last */
}

static void an_arena_that_was_given_up_is_never_taken_again(void **state)
{
    struct host *other = host_join(nonce + 2000, HOST_ARENA, "other", &e);

    (void)state;
    assert_non_null(other);
    host_leave(other);
    assert_null(host_join(nonce + 2000, HOST_ARENA, "other", &e));
    assert_int_equal(e.code, ERR_arena);
}

/* ---- copies ---- */

static void a_copy_serves_whoever_has_these_bytes(void **state)
{
    struct tensor *t = tensor_of(1000), *piece;
    struct copy *c = copy_make(host, t, &e);
    struct shape s = {.ndim = 1, .dim = {100}};

    (void)state;
    assert_null(copy_find(host, t)); /* nothing is in it yet */
    copy_is_whole(c);
    assert_ptr_equal(copy_find(host, t), c);
    assert_int_equal(c->users, 2);
    piece = tensor_new(DTYPE_uint8, &s, t->extent, 300);
    assert_ptr_equal(copy_find(host, piece), c);
    assert_int_equal(copy_offset(c, piece), copy_offset(c, t) + 300);
    for (int i = 0; i < 3; i++)
        copy_release(c);
    assert_int_equal(host->copies, 1); /* kept */
    tensor_unref(piece);
    assert_true(is_there(t));
    drop(t);
    assert_int_equal(host->copies, 0); /* gone with its extent */
    assert_int_equal(atomic_load(&host->used_bytes), 0);
}

static void the_piece_of_a_tensor_does_not_serve_the_whole(void **state)
{
    struct tensor *t = tensor_of(1000), *piece;
    struct shape s = {.ndim = 1, .dim = {100}};

    (void)state;
    piece = tensor_new(DTYPE_uint8, &s, t->extent, 300);
    left_there(piece);
    assert_false(is_there(t));
    assert_true(is_there(piece));
    tensor_unref(piece);
    drop(t);
}

static void what_was_used_longest_ago_makes_room(void **state)
{
    struct tensor *t[5];

    (void)state;
    for (int i = 0; i < 5; i++)
        t[i] = tensor_of(QUARTER);
    for (int i = 0; i < 4; i++)
        left_there(t[i]);
    assert_true(is_there(t[0])); /* and is used now */
    left_there(t[4]);
    assert_true(is_there(t[0]) && is_there(t[2]) && is_there(t[3]) && is_there(t[4]));
    assert_false(is_there(t[1]));
    assert_int_equal(
        blocks_check(&host->room, ARENA_HEADER_BYTES, HOST_ARENA - ARENA_HEADER_BYTES, &e), 0);
    for (int i = 0; i < 5; i++)
        drop(t[i]);
    assert_int_equal(host->room.free_bytes, HOST_ARENA - ARENA_HEADER_BYTES);
}

static void what_is_used_stays_and_the_refusal_names_the_host(void **state)
{
    struct tensor *t[5];
    struct copy *c[4];

    (void)state;
    for (int i = 0; i < 5; i++)
        t[i] = tensor_of(QUARTER);
    for (int i = 0; i < 4; i++)
        c[i] = copy_make(host, t[i], &e);
    assert_null(copy_make(host, t[4], &e));
    assert_int_equal(e.code, ERR_arena_full);
    assert_non_null(strstr(e.detail, "host far is full"));
    assert_int_equal(e.asked_bytes, QUARTER);
    copy_release(c[2]); /* nothing was in it: it goes at once */
    assert_int_equal(host->copies, 3);
    left_there(t[4]);
    for (int i = 0; i < 5; i++) {
        if (i < 4 && i != 2)
            copy_release(c[i]);
        drop(t[i]);
    }
    assert_int_equal(host->copies, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_host_is_known_by_its_arena),
        TEST(an_arena_that_was_given_up_is_never_taken_again),
        TEST(a_copy_serves_whoever_has_these_bytes),
        TEST(the_piece_of_a_tensor_does_not_serve_the_whole),
        TEST(what_was_used_longest_ago_makes_room),
        TEST(what_is_used_stays_and_the_refusal_names_the_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
