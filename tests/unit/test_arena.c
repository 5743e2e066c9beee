/* test_arena.c - rules of the arena file: kept or made anew, reserved, never a SIGBUS. */
#include "tests/unit/unit.h"

#include "schema/limits.h"
#include "schema/log.h"
#include "server/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (16ull << 20)

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    log_init("test", LOG_error, false);
    strcpy(dir, "/tmp/tutti-arena-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    unlink(in_dir("arena"));
    unlink(in_dir("arena.lock"));
    return rmdir(dir);
}

static struct arena *must_open(uint64_t size, uint64_t nonce, bool expect_kept)
{
    struct arena *a = NULL;
    struct err e = {0};
    bool kept = !expect_kept;

    if (arena_open(&a, dir, size, nonce, &kept, &e) != 0)
        fail_msg("%s", e.detail);
    assert_int_equal(kept, expect_kept);
    return a;
}

static void must_refuse(uint64_t size, uint64_t nonce, const char *word)
{
    struct arena *a = NULL;
    struct err e = {0};
    bool kept;

    assert_int_equal(arena_open(&a, dir, size, nonce, &kept, &e), -1);
    assert_int_equal(e.code, ERR_arena);
    assert_non_null(strstr(e.detail, word));
    assert_null(a);
}

static void bytes_outlive_the_process_when_the_nonce_is_known(void **state)
{
    struct arena *a = must_open(SIZE, 0, false);
    uint64_t nonce = arena_nonce(a);

    (void)state;
    assert_int_not_equal(nonce, 0);
    assert_int_equal(arena_size(a), SIZE);
    assert_int_equal(arena_reserve(a, 8192, 5, NULL), 0);
    memcpy(arena_base(a) + 8192, "tutti", 5);
    arena_close(a);
    a = must_open(SIZE, nonce, true);
    assert_int_equal(arena_nonce(a), nonce);
    assert_memory_equal(arena_base(a) + 8192, "tutti", 5);
    arena_close(a);
}

static void an_arena_that_nobody_knows_is_made_anew(void **state)
{
    struct arena *a = must_open(SIZE, 0, false), *b;
    uint64_t nonce = arena_nonce(a);

    (void)state;
    assert_int_equal(arena_reserve(a, 8192, 5, NULL), 0);
    memcpy(arena_base(a) + 8192, "tutti", 5);
    arena_close(a);
    b = must_open(SIZE, nonce + 1, false);
    assert_int_not_equal(arena_nonce(b), nonce);
    assert_int_equal(arena_base(b)[8192], 0);
    arena_close(b);
}

static void poke(off_t at)
{
    int fd = open(in_dir("arena"), O_RDWR);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (uint8_t)~byte; /* a fixed value may be what the random nonce has there */
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void a_header_of_another_boot_version_or_kind_is_not_kept(void **state)
{
    (void)state;
    for (off_t at = 0; at < 40; at += 8) { /* magic, version, nonce, size, boot id */
        struct arena *a = must_open(SIZE, 0, false);
        uint64_t nonce = arena_nonce(a);

        arena_close(a);
        if (at == 24)
            continue; /* the size has rules of its own */
        poke(at);
        arena_close(must_open(SIZE, nonce, false));
    }
}

/* F14: of tests/fault/matrix.def. */
static void a_truncated_or_missing_file_is_not_kept(void **state)
{
    struct arena *a = must_open(SIZE, 0, false);
    uint64_t nonce = arena_nonce(a);

    (void)state;
    arena_close(a);
    assert_int_equal(truncate(in_dir("arena"), SIZE - 4096), 0);
    a = must_open(SIZE, nonce, false);
    nonce = arena_nonce(a);
    arena_close(a);
    assert_int_equal(unlink(in_dir("arena")), 0);
    arena_close(must_open(SIZE, nonce, false));
}

static void a_kept_arena_grows_and_refuses_to_shrink(void **state)
{
    struct arena *a = must_open(SIZE, 0, false);
    uint64_t nonce = arena_nonce(a);

    (void)state;
    arena_close(a);
    must_refuse(SIZE / 2, nonce, "--arena-size 16777216");
    a = must_open(2 * SIZE, nonce, true);
    assert_int_equal(arena_size(a), 2 * SIZE);
    assert_int_equal(arena_reserve(a, 2 * SIZE - 1, 1, NULL), 0);
    arena_base(a)[2 * SIZE - 1] = 1;
    arena_close(a);
    arena_close(must_open(2 * SIZE, nonce, true));
}

/* The kill came between making the file longer and saying so. */
static void an_arena_whose_growth_was_cut_short_is_kept(void **state)
{
    struct arena *a = must_open(SIZE, 0, false);
    uint64_t nonce = arena_nonce(a);

    (void)state;
    arena_close(a);
    assert_int_equal(truncate(in_dir("arena"), 2 * SIZE), 0);
    a = must_open(SIZE, nonce, true);
    arena_close(a);
}

/* What it holds must be had again with the right size. */
static void a_size_that_no_machine_can_map_is_refused_and_changes_nothing(void **state)
{
    struct arena *a = must_open(SIZE, 0, false);
    uint64_t nonce = arena_nonce(a);

    (void)state;
    arena_close(a);
    must_refuse(1ull << 58, nonce, "write --arena-size ");
    a = must_open(SIZE, nonce, true);
    arena_close(a);
}

static void an_arena_serves_one_server_at_a_time(void **state)
{
    struct arena *a = must_open(SIZE, 0, false);

    (void)state;
    must_refuse(SIZE, arena_nonce(a), "in use by another server");
    arena_close(a);
}

static void a_directory_that_others_may_enter_is_refused(void **state)
{
    (void)state;
    assert_int_equal(chmod(dir, 0755), 0);
    must_refuse(SIZE, 0, "chmod 700");
    assert_int_equal(chmod(dir, 0700), 0);
}

static void files_are_for_us_alone(void **state)
{
    struct arena *a = must_open(SIZE, 0, false);
    struct stat st;

    (void)state;
    assert_int_equal(fstat(arena_fd(a), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    arena_close(a);
}

static void a_symbolic_link_is_not_followed(void **state)
{
    (void)state;
    assert_int_equal(symlink("/dev/zero", in_dir("arena")), 0);
    must_refuse(SIZE, 1, "open");
}

static void too_small_an_arena_is_refused(void **state)
{
    (void)state;
    must_refuse(LIMIT_ARENA_MIN_BYTES - 1, 0, "at least");
    arena_close(must_open(LIMIT_ARENA_MIN_BYTES, 0, false));
}

static void reserving_takes_whole_chunks_clipped_to_the_file(void **state)
{
    struct arena *a = must_open(SIZE + 4096, 0, false);
    uint64_t before = arena_reserved_bytes(a);

    (void)state;
    assert_true(before <= 64 << 10);
    assert_int_equal(arena_reserve(a, LIMIT_CHUNK_BYTES + 7, 1, NULL), 0);
    assert_int_equal(arena_reserved_bytes(a) - before, LIMIT_CHUNK_BYTES);
    assert_int_equal(arena_reserve(a, LIMIT_CHUNK_BYTES, LIMIT_CHUNK_BYTES, NULL), 0);
    assert_int_equal(arena_reserved_bytes(a) - before, LIMIT_CHUNK_BYTES);
    assert_int_equal(arena_reserve(a, SIZE, 4096, NULL), 0);
    assert_int_equal(arena_reserved_bytes(a) - before, LIMIT_CHUNK_BYTES + 4096);
    assert_int_equal(arena_reserve(a, SIZE, 4097, NULL), -1);
    assert_int_equal(arena_reserve(a, UINT64_MAX, 2, NULL), -1);
    assert_int_equal(arena_reserve(a, UINT64_MAX, 0, NULL), 0);
    arena_close(a);
}

/* F16: the file is sparse, its tmpfs is smaller: an answer, not a SIGBUS. */
static void a_full_tmpfs_is_an_error_and_not_a_signal(void **state)
{
    struct err e = {0};
    struct arena *a;
    bool kept;
    char sub[96];

    (void)state;
    snprintf(sub, sizeof sub, "%s/fs", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    if (mount("tmpfs", sub, "tmpfs", 0, "size=5m,mode=700") != 0) {
        rmdir(sub);
        skip(); /* not root, or no mounts here */
    }
    assert_int_equal(arena_open(&a, sub, SIZE, 0, &kept, &e), 0);
    assert_int_equal(arena_reserve(a, 4096, 2 * LIMIT_CHUNK_BYTES - 4096, &e), 0);
    memset(arena_base(a) + 4096, 1, 2 * LIMIT_CHUNK_BYTES - 4096);
    assert_int_equal(arena_reserve(a, 2 * LIMIT_CHUNK_BYTES, 1, &e), -1);
    assert_int_equal(e.code, ERR_arena_full);
    arena_close(a);
    assert_int_equal(umount(sub), 0);
    assert_int_equal(rmdir(sub), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(bytes_outlive_the_process_when_the_nonce_is_known),
        TEST(an_arena_that_nobody_knows_is_made_anew),
        TEST(a_header_of_another_boot_version_or_kind_is_not_kept),
        TEST(a_truncated_or_missing_file_is_not_kept),
        TEST(a_kept_arena_grows_and_refuses_to_shrink),
        TEST(an_arena_whose_growth_was_cut_short_is_kept),
        TEST(a_size_that_no_machine_can_map_is_refused_and_changes_nothing),
        TEST(an_arena_serves_one_server_at_a_time),
        TEST(a_directory_that_others_may_enter_is_refused),
        TEST(files_are_for_us_alone),
        TEST(a_symbolic_link_is_not_followed),
        TEST(too_small_an_arena_is_refused),
        TEST(reserving_takes_whole_chunks_clipped_to_the_file),
        TEST(a_full_tmpfs_is_an_error_and_not_a_signal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
