/* test_extent.c - rules of the allocator: exact accounts, no overlap, all of it comes back. */
#include "tests/unit/arena_house.h"

#include "schema/clock.h"
#include "schema/limits.h"
#include "server/extent.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA (256ull << 20)
#define ALIGN LIMIT_EXTENT_ALIGN_BYTES

static uint64_t seed = 42;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static int setup(void **state)
{
    struct err e;

    (void)state;
    if (arena_house_open("/dev/shm/tutti-extent-XXXXXX", ARENA) != 0)
        return -1;
    return extent_init(arena, &e);
}

static int teardown(void **state)
{
    (void)state;
    extent_fini();
    return arena_house_close();
}

static uint64_t bytes_in_memory(void)
{
    struct stat st;

    assert_int_equal(stat(arena_path(arena), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void check(void)
{
    struct err e = {0};

    if (extent_check(&e) != 0)
        fail_msg("%s", e.detail);
}

static struct extent_usage usage(void)
{
    struct extent_usage u;

    extent_usage(&u);
    assert_int_equal(u.used_bytes + u.free_bytes, u.arena_bytes);
    return u;
}

static struct extent *take(uint64_t size)
{
    struct extent *x = NULL;
    struct err e = {0};

    if (extent_alloc(size, &x, &e) != 0)
        fail_msg("%s", e.detail);
    assert_int_equal(extent_size(x), size);
    return x;
}

static void expect_full(uint64_t size)
{
    struct extent *x = NULL;
    struct err e = {0};
    struct extent_usage u = usage();

    assert_int_equal(extent_alloc(size, &x, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    assert_int_equal(e.asked_bytes, size);
    assert_int_equal(e.free_bytes, u.free_bytes);
    assert_null(x);
}

static void everything_can_be_one_extent_and_comes_back(void **state)
{
    uint64_t all = ARENA - ARENA_HEADER_BYTES;
    struct extent *x;

    (void)state;
    assert_int_equal(usage().largest_free_bytes, all);
    x = take(all);
    assert_int_equal(extent_offset(x), ARENA_HEADER_BYTES);
    assert_int_equal(usage().free_bytes, 0);
    expect_full(1);
    check();
    extent_unref(x);
    assert_int_equal(usage().largest_free_bytes, all);
    expect_full(all + 1);
    expect_full(UINT64_MAX);
    expect_full(UINT64_MAX - ALIGN + 1);
}

static void sizes_round_up_and_large_ones_start_on_a_page(void **state)
{
    struct extent *a = take(1), *b = take(ALIGN + 1), *c = take(1 << 20), *d = take(3 << 20);

    (void)state;
    assert_int_equal(extent_offset(b) - extent_offset(a), ALIGN);
    assert_int_equal(extent_offset(c) % 4096, 0);
    assert_int_equal(extent_offset(d) % 4096, 0);
    assert_int_equal(usage().used_bytes, ALIGN * 3 + (4 << 20));
    assert_true(extent_bytes(a) == arena_base(arena) + extent_offset(a));
    check();
    extent_unref(c);
    extent_unref(a);
    extent_unref(d);
    extent_unref(b);
    assert_int_equal(usage().used_bytes, 0);
    check();
}

static void an_empty_extent_takes_no_bytes(void **state)
{
    struct extent *all = take(ARENA - ARENA_HEADER_BYTES), *x = take(0), *y = NULL;

    (void)state;
    assert_int_equal(usage().extents, 2);
    assert_int_equal(usage().free_bytes, 0);
    assert_int_equal(extent_adopt(extent_offset(x), 0, &y, NULL), 0);
    extent_unref(y);
    extent_unref(x);
    extent_unref(all);
    assert_int_equal(usage().extents, 0);
}

static void the_last_reference_frees(void **state)
{
    struct extent *x = take(100);

    (void)state;
    extent_ref(x);
    extent_unref(x);
    assert_int_equal(usage().extents, 1);
    extent_unref(x);
    extent_unref(NULL);
    assert_int_equal(usage().extents, 0);
}

static void freed_memory_is_taken_before_untouched_memory(void **state)
{
    struct extent *x = take(8 << 20), *wall = take(64), *y;
    uint64_t at = extent_offset(x), reserved;

    (void)state;
    extent_unref(x);
    reserved = usage().reserved_bytes;
    for (int i = 0; i < 100; i++) {
        y = take(8 << 20);
        assert_int_equal(extent_offset(y), at);
        extent_unref(y);
    }
    assert_int_equal(usage().reserved_bytes, reserved);
    extent_unref(wall);
}

static void shrinking_gives_the_tail_back(void **state)
{
    struct extent *x = take(1 << 20), *y;
    uint64_t at = extent_offset(x);

    (void)state;
    extent_shrink(x, 100);
    assert_int_equal(extent_size(x), 100);
    assert_int_equal(extent_offset(x), at);
    assert_int_equal(usage().used_bytes, 2 * ALIGN);
    y = take(1000);
    assert_int_equal(extent_offset(y), at + 2 * ALIGN);
    check();
    extent_shrink(x, 0);
    assert_int_equal(extent_size(x), 0);
    extent_shrink(x, 5); /* never grows */
    assert_int_equal(extent_size(x), 0);
    check();
    extent_unref(x);
    extent_unref(y);
    assert_int_equal(usage().used_bytes, 0);
    check();
}

static void an_adopted_range_is_exactly_that_and_shared(void **state)
{
    struct extent *a, *b, *c;
    struct err e;

    (void)state;
    assert_int_equal(extent_adopt(1 << 20, 1000, &a, &e), 0);
    assert_int_equal(extent_offset(a), 1 << 20);
    assert_int_equal(extent_adopt(1 << 20, 1000, &b, &e), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(usage().extents, 1);
    assert_int_equal(usage().used_bytes, 1024);
    assert_int_equal(extent_adopt(ARENA_HEADER_BYTES, 64, &c, &e), 0);
    check();
    extent_unref(a);
    extent_unref(b);
    extent_unref(c);
    assert_int_equal(usage().used_bytes, 0);
    check();
}

static void a_range_that_cannot_be_is_not_adopted(void **state)
{
    static const struct {
        uint64_t offset, size;
    } bad[] = {
        {(1 << 20) + 64, 64},
        {(1 << 20) - 64, 128},
        {1 << 20, 999 + 64},
        {1 << 20, 64},
        {0, 64},
        {ARENA_HEADER_BYTES - 64, 128},
        {ARENA - 64, 65},
        {ARENA, 1},
        {UINT64_MAX - 63, 64},
        {4096 + 1, 1},
        {1 << 21, UINT64_MAX},
        {(1 << 20) - 64, ARENA - (1 << 20)},
        {1 << 21, ARENA - 1},
    };
    struct extent *a, *b = NULL;
    struct err e;

    (void)state;
    assert_int_equal(extent_adopt(1 << 20, 1000, &a, &e), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(extent_adopt(bad[i].offset, bad[i].size, &b, &e), -1);
        assert_int_equal(e.code, ERR_arena);
        check();
    }
    assert_null(b);
    assert_int_equal(usage().extents, 1);
    extent_unref(a);
}

#define MANY 100000

/* In the order of `order`: the time must not be quadratic (it would be minutes). */
static void adopt_many(const uint32_t *order)
{
    static struct extent *x[MANY];
    uint64_t start = clock_us();

    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(
            extent_adopt(ARENA_HEADER_BYTES + order[i] * 2048ull, 1 + draw() % 2048, &x[i], NULL),
            0);
        assert_true(clock_us() - start < 5000000);
    }
    check();
    assert_int_equal(usage().extents, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        extent_unref(x[i]);
    check();
    assert_int_equal(usage().largest_free_bytes, ARENA - ARENA_HEADER_BYTES);
}

static void a_hundred_thousand_extents_are_adopted_quickly_in_any_order(void **state)
{
    static uint32_t rising[MANY], falling[MANY], shuffled[MANY];

    (void)state;
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t j = (uint32_t)(draw() % (i + 1));

        rising[i] = i;
        falling[i] = MANY - 1 - i;
        shuffled[i] = shuffled[j];
        shuffled[j] = i;
    }
    adopt_many(rising);
    adopt_many(falling);
    adopt_many(shuffled);
}

static void allocation_and_adoption_may_alternate(void **state)
{
    struct extent *x[200];

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        x[2 * i] = take(64 + draw() % 5000);
        assert_int_equal(extent_adopt(ARENA - (i + 1) * 65536, 60000, &x[2 * i + 1], NULL), 0);
    }
    check();
    for (int i = 0; i < 200; i++)
        extent_unref(x[(i * 37) % 200]);
    check();
    assert_int_equal(usage().largest_free_bytes, ARENA - ARENA_HEADER_BYTES);
}

static uint64_t random_size(void)
{
    return draw() % (1ull << draw() % 19);
}

/* Each extent holds a pattern of its own; one that another overlaps would lose it. */
static void extents_never_overlap(void **state)
{
    enum { LIVE = 500 };
    struct extent *x[LIVE] = {0};

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint32_t k = (uint32_t)(draw() % LIVE);

        if (x[k]) {
            const uint8_t *p = extent_bytes(x[k]);
            uint64_t n = extent_size(x[k]);

            for (uint64_t b = 0; b < n; b += 61)
                assert_int_equal(p[b], (uint8_t)(k * 7 + b));
            extent_unref(x[k]);
        }
        x[k] = take(random_size());
        for (uint64_t b = 0; b < extent_size(x[k]); b++)
            extent_bytes(x[k])[b] = (uint8_t)(k * 7 + b);
    }
    check();
    for (int k = 0; k < LIVE; k++)
        extent_unref(x[k]);
    check();
    assert_int_equal(usage().extents, 0);
}

/* F17: 10^5 random sizes against a nearly full arena; then the largest possible one. */
static void churn_leaves_the_arena_usable(void **state)
{
    enum { LIVE = 2048 };
    static struct extent *x[LIVE];
    struct extent_usage u;
    struct extent *big;
    uint64_t reserved;
    int full = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint32_t k = (uint32_t)(draw() % LIVE);
        struct err e;

        extent_unref(x[k]);
        x[k] = NULL;
        if (extent_alloc(random_size() * 12, &x[k], &e) != 0) {
            assert_int_equal(e.code, ERR_arena_full);
            full++;
        }
    }
    check();
    u = usage();
    print_message("churn: %d refused, %llu used, %llu free, largest %llu (%.0f %%)\n", full,
                  (unsigned long long)u.used_bytes, (unsigned long long)u.free_bytes,
                  (unsigned long long)u.largest_free_bytes,
                  100.0 * (double)u.largest_free_bytes / (double)u.free_bytes);
    big = take(u.largest_free_bytes); /* the number is honest ... */
    check();
    expect_full(u.largest_free_bytes + 1); /* ... in both directions */
    extent_unref(big);
    reserved = usage().reserved_bytes;
    for (int k = 0; k < LIVE; k++)
        extent_unref(x[k]);
    u = usage();
    assert_int_equal(u.largest_free_bytes, ARENA - ARENA_HEADER_BYTES);
    assert_int_equal(u.extents, 0);
    assert_int_equal(u.reserved_bytes, reserved);
    check();
}

static void *churn(void *arg)
{
    enum { LIVE = 64 };
    struct extent *x[LIVE] = {0};
    uint64_t r = 0x9e3779b97f4a7c15ull * (uint64_t)(uintptr_t)arg;

    for (int i = 0; i < 20000; i++) {
        uint32_t k = (uint32_t)((r = r * 6364136223846793005ull + 1442695040888963407ull) >> 58);

        extent_unref(x[k]);
        x[k] = NULL;
        if (extent_alloc(1 + (r >> 30 & 0xffff), &x[k], NULL) == 0)
            *(volatile uint8_t *)extent_bytes(x[k]) = 1;
    }
    for (int k = 0; k < LIVE; k++)
        extent_unref(x[k]);
    return NULL;
}

static void threads_may_allocate_and_free_at_once(void **state)
{
    pthread_t t[4];

    (void)state;
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(usage().extents, 0);
    check();
}

/* F16: the sparse file promises more than its tmpfs has: the range must come back. */
static void a_full_tmpfs_gives_the_range_back(void **state)
{
    char sub[96];
    struct arena *small, *before = arena;
    struct extent *x, *y = NULL;
    struct err e;
    bool kept;

    (void)state;
    snprintf(sub, sizeof sub, "%s/fs", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    if (mount("tmpfs", sub, "tmpfs", 0, "size=9m,mode=700") != 0) {
        rmdir(sub);
        skip();
    }
    extent_fini();
    assert_int_equal(arena_open(&small, sub, 64 << 20, 0, &kept, &e), 0);
    assert_int_equal(extent_init(small, &e), 0);
    x = take(4 << 20);
    memset(extent_bytes(x), 1, 4 << 20);
    assert_int_equal(extent_alloc(16 << 20, &y, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    assert_int_equal(e.asked_bytes, 16 << 20);
    assert_int_equal(usage().extents, 1);
    check();
    extent_unref(x);
    x = take(4 << 20);
    memset(extent_bytes(x), 1, 4 << 20);
    extent_unref(x);
    extent_fini();
    arena_close(small);
    assert_int_equal(umount(sub), 0);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(extent_init(before, &e), 0);
}

/* Pages that are made ahead are there for the next of that size, and nobody has them. */
static void what_is_warm_needs_no_pages(void **state)
{
    const uint64_t size = 24ull << 20;
    uint64_t before = bytes_in_memory(), used = usage().used_bytes, warm;
    struct extent *x;
    struct err e;

    (void)state;
    extent_warm(size);
    warm = bytes_in_memory();
    assert_true(warm >= before + size);
    assert_int_equal(usage().used_bytes, used);
    extent_warm(size);
    extent_warm(2 * ARENA); /* nothing more */
    assert_int_equal(extent_alloc(size, &x, &e), 0);
    assert_int_equal(bytes_in_memory(), warm);
    extent_unref(x);
    check();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_warm_needs_no_pages),
        TEST(everything_can_be_one_extent_and_comes_back),
        TEST(sizes_round_up_and_large_ones_start_on_a_page),
        TEST(an_empty_extent_takes_no_bytes),
        TEST(the_last_reference_frees),
        TEST(freed_memory_is_taken_before_untouched_memory),
        TEST(shrinking_gives_the_tail_back),
        TEST(an_adopted_range_is_exactly_that_and_shared),
        TEST(a_range_that_cannot_be_is_not_adopted),
        TEST(a_hundred_thousand_extents_are_adopted_quickly_in_any_order),
        TEST(allocation_and_adoption_may_alternate),
        TEST(extents_never_overlap),
        TEST(churn_leaves_the_arena_usable),
        TEST(threads_may_allocate_and_free_at_once),
        TEST(a_full_tmpfs_gives_the_range_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
