/* test_region.c - regions: what a line of the lane says, their place behind the arena, who finds
 * them and how long they live; and the same place in a worker. */
#include "tests/unit/arena_house.h"

#include "server/lane_line.h"
#include "worker/arena_map.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA (3ull << 20) /* no multiple of a chunk */
#define LANE (16ull << 20)

static int setup(void **state)
{
    struct err e;

    (void)state;
    if (arena_house_open("/dev/shm/tutti-region-XXXXXX", ARENA) != 0 ||
        arena_make_window(arena, LANE * LIMIT_LANE_WINDOW, &e) != 0 ||
        regions_init(arena, LANE, &e) != 0)
        return -1;
    return extent_init(arena, &e);
}

static int teardown(void **state)
{
    (void)state;
    extent_fini();
    regions_fini();
    return arena_house_close();
}

static struct region *make(enum region_kind kind, struct account *a, uint64_t size, int *fd)
{
    struct region *r = NULL;
    struct err e;

    assert_int_equal(region_make(kind, a, size, &r, fd, &e), 0);
    return r;
}

static void end(struct region *r)
{
    region_leave(r);
    region_unref(r);
}

static uint64_t used(void)
{
    struct region_usage u;

    region_usage(&u);
    return u.used_bytes;
}

static void a_region_is_memory_that_both_see_behind_the_arena(void **state)
{
    struct account *a = account_get("alice");
    struct extent *in, *out;
    int fd, read_fd;
    struct region *r = make(REGION_inputs, a, 5, &fd), *res = make(REGION_results, a, 1, &read_fd);
    uint8_t *mine = mmap(NULL, r->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct err e;

    (void)state;
    assert_int_equal(r->size_bytes, LIMIT_CHUNK_BYTES);
    assert_true(r->offset >= ARENA && r->offset % LIMIT_CHUNK_BYTES == 0);
    assert_ptr_not_equal(mine, MAP_FAILED);
    mine[100] = 42;
    assert_int_equal(region_piece(r, 100, 8, &in, &e), 0);
    assert_int_equal(extent_bytes(in)[0], 42);
    assert_int_equal(extent_offset(in), r->offset + 100);
    assert_true(region_is_written(in) && region_of(in) == r);
    assert_int_equal(region_take(res, 1000, &out, &e), 0);
    assert_false(region_is_written(out));
    extent_bytes(out)[0] = 7;
    assert_int_equal(pread(read_fd, mine, 1, (off_t)(extent_offset(out) - res->offset)), 1);
    assert_int_equal(mine[0], 7);
    assert_int_equal(pwrite(read_fd, mine, 1, 0), -1);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, read_fd, 0), MAP_FAILED);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 1 << 30), -1);
    assert_int_equal(atomic_load(&a->used[USE_arena]), 2 * LIMIT_CHUNK_BYTES);
    munmap(mine, r->size_bytes);
    extent_unref(in);
    extent_unref(out);
    end(r);
    end(res);
    close(fd);
    close(read_fd);
    assert_int_equal(used(), 0);
    assert_int_equal(atomic_load(&a->used[USE_arena]), 0);
}

static void its_owner_finds_it_while_its_client_is_there(void **state)
{
    struct account *a = account_get("alice"), *b = account_get("bob");
    struct extent *x;
    int fd;
    struct region *r = make(REGION_inputs, a, 1, &fd);
    struct id id = r->id;
    struct err e;

    (void)state;
    assert_null(region_find(&id, b));
    for (int i = 0; i < 2; i++) { /* alice, and an admin */
        struct region *found = region_find(&id, i ? NULL : a);

        assert_ptr_equal(found, r);
        region_unref(found);
    }
    assert_int_equal(region_piece(r, 0, 64, &x, &e), 0);
    end(r);
    assert_null(region_find(&id, a)); /* and yet its bytes are there for whoever has them */
    assert_int_equal(used(), LIMIT_CHUNK_BYTES);
    assert_int_equal(extent_bytes(x)[63], 0);
    extent_unref(x);
    assert_int_equal(used(), 0);
    close(fd);
}

static void the_lane_has_an_end_and_places_are_used_again(void **state)
{
    struct account *a = account_get("alice");
    struct region *r, *other;
    struct err e;
    int fd = -1;

    (void)state;
    assert_int_equal(region_make(REGION_inputs, a, LANE + 1, &r, &fd, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    assert_int_equal(region_make(REGION_inputs, a, UINT64_MAX, &r, &fd, &e), -1);
    for (int i = 0; i < 100; i++) {
        r = make(REGION_results, a, LANE, &fd);
        assert_int_equal(region_make(REGION_inputs, a, 1, &other, &fd, &e), -1);
        assert_int_equal(e.code, ERR_arena_full);
        close(fd);
        end(r);
    }
    atomic_store(&a->most[USE_arena], LIMIT_CHUNK_BYTES);
    assert_int_equal(region_make(REGION_inputs, a, LIMIT_CHUNK_BYTES + 1, &r, &fd, &e), -1);
    assert_int_equal(e.code, ERR_quota);
    atomic_store(&a->most[USE_arena], ACCOUNT_NO_LIMIT);
    assert_int_equal(used(), 0);
}

static void results_are_pieces_that_do_not_overlap(void **state)
{
    int fd;
    struct region *r = make(REGION_results, account_everybody(), LIMIT_CHUNK_BYTES, &fd);
    struct extent *x[4], *more;
    struct err e;

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(region_take(r, LIMIT_CHUNK_BYTES / 4, &x[i], &e), 0);
        for (int k = 0; k < i; k++)
            assert_true(extent_offset(x[i]) != extent_offset(x[k]));
    }
    assert_int_equal(region_take(r, 1, &more, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    extent_unref(x[2]);
    assert_int_equal(region_take(r, LIMIT_CHUNK_BYTES / 4, &x[2], &e), 0);
    assert_int_equal(region_take(r, 0, &more, &e), 0); /* of no bytes there is always one */
    extent_unref(more);
    for (int i = 0; i < 4; i++)
        extent_unref(x[i]);
    end(r);
    close(fd);
    assert_int_equal(used(), 0);
}

static void a_worker_maps_a_region_where_the_server_has_it(void **state)
{
    const uint64_t at = arena_window_at(ARENA), chunk = LIMIT_CHUNK_BYTES;
    int fd = memfd_create("arena", 0), other = memfd_create("region", 0);
    struct err e;

    (void)state;
    assert_int_equal(ftruncate(fd, (off_t)ARENA), 0);
    assert_int_equal(ftruncate(other, (off_t)(2 * chunk)), 0);
    assert_int_equal(pwrite(other, "x", 1, 5), 1);
    assert_int_equal(arena_map_open(fd, ARENA, &e), 0);
    assert_int_equal(arena_map_region(at, chunk, dup(other), true, &e),
                     -1); /* there is no window */
    assert_int_equal(arena_map_window(4 * chunk, &e), 0);
    arena_map_base()[7] = 9; /* the arena is where it was, at another address */
    assert_int_equal(arena_map_at(7, 1)[0], 9);
    assert_null(arena_map_at(at, 1));
    assert_int_equal(arena_map_region(at + chunk, 2 * chunk, dup(other), false, &e), 0);
    assert_int_equal(arena_map_at(at + chunk + 5, 1)[0], 'x');
    arena_map_touch(arena_map_at(at + chunk, 2 * chunk), 2 * chunk);
    assert_non_null(arena_map_at(at + chunk, 2 * chunk));
    assert_null(arena_map_at(at + chunk, 2 * chunk + 1));
    assert_null(arena_map_at(at + chunk - 1, 2));
    assert_null(arena_map_at(ARENA - 1, 2));
    assert_null(arena_map_at(UINT64_MAX - 1, 2));
    /* Nothing lies over another, or leaves the window, or comes without its memory. */
    assert_int_equal(arena_map_region(at + 2 * chunk, chunk, dup(other), true, &e), -1);
    assert_int_equal(arena_map_region(at + 4 * chunk, chunk, dup(other), true, &e), -1);
    assert_int_equal(arena_map_region(0, chunk, dup(other), true, &e), -1);
    assert_int_equal(arena_map_region(at + 1, chunk, dup(other), true, &e), -1);
    assert_int_equal(arena_map_region(at, chunk, -1, true, &e), -1);
    assert_int_equal(e.code, ERR_link);
    arena_map_drop(at, chunk); /* of none */
    arena_map_drop(at + chunk, 2 * chunk);
    assert_null(arena_map_at(at + chunk, 1));
    assert_int_equal(arena_map_region(at + 2 * chunk, chunk, dup(other), true, &e), 0);
    arena_map_at(at + 2 * chunk, 1)[0] = 'y';
    arena_map_close();
    close(other);
}

static void a_line_says_one_thing(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
    } wrong[] = {
        {"{\"lane\":1}", ERR_missing_parameter},
        {"{\"lane\":1,\"open\":\"inputs\"}", ERR_missing_parameter},
        {"{\"lane\":1,\"open\":\"inputs\",\"close\":\"r_01ARZ3NDEKTSV4RRFFQ69G5FAV\"}",
         ERR_missing_parameter},
        {"{\"lane\":1,\"hold\":\"r_01ARZ3NDEKTSV4RRFFQ69G5FAV\"}", ERR_tensor_unknown},
        {"{\"lane\":1,\"close\":\"t_01ARZ3NDEKTSV4RRFFQ69G5FAV\"}", ERR_region_unknown},
        {"{\"lane\":1.5,\"open\":\"inputs\",\"size_bytes\":1}", ERR_bad_parameter},
        {"{\"lane\":1,\"open\":1,\"size_bytes\":1}", ERR_bad_parameter},
        {"{\"lane\":1,\"open\":\"inputs\",\"size_bytes\":\"1\"}", ERR_bad_parameter},
        {"{\"lane\":1,\"open\":\"inputs\",\"size_bytes\":1,\"token\":5}", ERR_unauthorized},
        {"{\"lane\":1,\"lane\":1,\"open\":\"inputs\"}", ERR_duplicate_member},
        {"{\"lane\":1,\"what\":1}", ERR_unknown_parameter},
        {"[]", ERR_bad_json},
    };
    struct lane_line line;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(lane_line_read(wrong[i].text, strlen(wrong[i].text), &line, &e), -1);
        assert_string_equal(err_name(e.code), err_name(wrong[i].code));
    }
    const char *open = "{\"token\":\"a.b\",\"size_bytes\":77,\"open\":\"results\",\"lane\":1}";
    assert_int_equal(lane_line_read(open, strlen(open), &line, &e), 0);
    assert_true(line.verb == LANE_open && line.kind == REGION_results && line.size_bytes == 77);
    assert_string_equal(line.token, "a.b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_is_memory_that_both_see_behind_the_arena),
        cmocka_unit_test(its_owner_finds_it_while_its_client_is_there),
        cmocka_unit_test(the_lane_has_an_end_and_places_are_used_again),
        cmocka_unit_test(results_are_pieces_that_do_not_overlap),
        cmocka_unit_test(a_worker_maps_a_region_where_the_server_has_it),
        cmocka_unit_test(a_line_says_one_thing),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
