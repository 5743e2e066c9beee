/* test_arena_own.c - the arena of a host without the server's: made by the first worker, shared by
 * those that come while it lives, and another after that; its locks say who lives.
 */
#include "tests/unit/unit.h"

#include "schema/arena_header.h"
#include "schema/log.h"
#include "worker/arena_map.h"
#include "worker/arena_own.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (4ull << 20)

static char top[64], dir[96];

static int set_up(void **state)
{
    (void)state;
    log_init("test", LOG_error, false);
    strcpy(top, "/dev/shm/tutti-own-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    snprintf(dir, sizeof dir, "%s/arena", top);
    return 0;
}

static int count_files(bool remove)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    int n = 0;

    while (d && (entry = readdir(d))) {
        if (entry->d_name[0] == '.')
            continue;
        n += strncmp(entry->d_name, "arena-", 6) == 0;
        if (remove)
            unlinkat(dirfd(d), entry->d_name, 0);
    }
    if (d)
        closedir(d);
    return n;
}

static int tear_down(void **state)
{
    (void)state;
    count_files(true);
    rmdir(dir);
    return rmdir(top);
}

/* ---- workers, each a process ---- */

struct worker {
    pid_t pid;
    int tell, hear;
};

struct found {
    bool ok;
    uint64_t nonce, size_bytes;
    char detail[200];
};

/* 'h': is this epoch held? 'r': reserve all of it. 'c': condemn it. 'q': close, and end. */
static void obey(int hear, int tell)
{
    struct {
        char what;
        uint64_t number;
    } order;

    while (read(hear, &order, sizeof order) == sizeof order) {
        bool yes = false;

        if (order.what == 'h')
            yes = arena_own_held(order.number);
        if (order.what == 'r')
            yes = arena_own_reserve(0, order.number) == 0;
        if (order.what == 'c')
            arena_own_condemn();
        if (order.what == 'q')
            arena_own_close();
        if (write(tell, &yes, 1) != 1 || order.what == 'q')
            _exit(0);
    }
    _exit(0);
}

static struct worker start(uint64_t session, uint64_t epoch, struct found *found)
{
    int there[2], back[2];
    struct worker w;

    assert_int_equal(pipe(there) | pipe(back), 0);
    w = (struct worker){.pid = fork(), .tell = there[1], .hear = back[0]};
    if (w.pid == 0) {
        struct found f = {.ok = false};
        struct arena_own own;
        struct err e;

        f.ok = arena_own_open(dir, SIZE, session, epoch, &own, &e) == 0 &&
               arena_map_open(own.map_fd, own.size_bytes, &e) == 0;
        if (f.ok) {
            f.nonce = own.nonce;
            f.size_bytes = own.size_bytes;
        } else {
            snprintf(f.detail, sizeof f.detail, "%.199s", e.detail);
        }
        if (write(back[1], &f, sizeof f) != sizeof f || !f.ok)
            _exit(1);
        obey(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    assert_int_equal(read(w.hear, found, sizeof *found), sizeof *found);
    return w;
}

static bool ask(const struct worker *w, char what, uint64_t number)
{
    struct {
        char what;
        uint64_t number;
    } order = {.what = what, .number = number};
    bool yes = false;

    assert_int_equal(write(w->tell, &order, sizeof order), sizeof order);
    assert_int_equal(read(w->hear, &yes, 1), 1);
    return yes;
}

static void end(struct worker *w)
{
    kill(w->pid, SIGKILL);
    waitpid(w->pid, NULL, 0);
    close(w->tell);
    close(w->hear);
}

/* ---- the rules ---- */

static void the_first_makes_it_and_the_others_share_it(void **state)
{
    struct found a, b;
    struct worker first = start(7, 1001, &a), second = start(7, 1002, &b);

    (void)state;
    assert_true(a.ok && b.ok && a.nonce != 0);
    assert_int_equal(a.nonce, b.nonce);
    assert_int_equal(a.size_bytes, SIZE);
    assert_int_equal(count_files(false), 1);
    assert_true(ask(&first, 'r', SIZE));
    assert_false(ask(&first, 'r', SIZE + 1));
    end(&first);
    end(&second);
}

static void a_fellow_sees_who_has_ended(void **state)
{
    struct found a, b;
    struct worker first = start(7, 1001, &a), second = start(7, 1002, &b);

    (void)state;
    assert_true(ask(&first, 'h', 1002));
    assert_false(ask(&first, 'h', 1003));
    kill(second.pid, SIGSTOP);
    assert_true(ask(&first, 'h', 1002)); /* stopped is not ended */
    end(&second);
    assert_false(ask(&first, 'h', 1002));
    end(&first);
}

static void nobody_finds_what_all_have_left(void **state)
{
    struct found a, b, c;
    struct worker first = start(7, 1001, &a), second, other;

    (void)state;
    end(&first);
    second = start(7, 1002, &b);
    assert_int_not_equal(a.nonce, b.nonce);
    other = start(8, 1003, &c); /* of another server, or of its next start */
    assert_int_not_equal(b.nonce, c.nonce);
    assert_int_equal(count_files(false), 2);
    end(&second);
    end(&other);
}

static void the_last_gives_the_memory_back(void **state)
{
    struct found a, b;
    struct worker first = start(7, 1001, &a), second = start(7, 1002, &b);
    char path[160];
    struct stat s;

    (void)state;
    snprintf(path, sizeof path, "%s/arena-%016x", dir, 7);
    ask(&first, 'q', 0);
    waitpid(first.pid, NULL, 0);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_size, SIZE);
    ask(&second, 'q', 0);
    waitpid(second.pid, NULL, 0);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_blocks, 0);
    first = start(7, 1003, &b); /* and an empty file is in nobody's way */
    assert_true(b.ok);
    end(&first);
}

static void a_condemned_one_is_shared_no_more(void **state)
{
    struct found a, b, c;
    struct worker hangs = start(7, 1001, &a), told = start(7, 1002, &b), next;

    (void)state;
    ask(&told, 'c', 0);
    next = start(7, 1003, &c);
    assert_true(c.ok);
    assert_int_not_equal(c.nonce, a.nonce);
    end(&hangs);
    end(&told);
    end(&next);
}

static void a_directory_that_others_may_enter_is_refused(void **state)
{
    struct found a;
    struct worker w;

    (void)state;
    assert_int_equal(mkdir(dir, 0755) | chmod(dir, 0755), 0);
    w = start(7, 1001, &a);
    assert_false(a.ok);
    assert_non_null(strstr(a.detail, "chmod 700"));
    end(&w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_makes_it_and_the_others_share_it),
        TEST(a_fellow_sees_who_has_ended),
        TEST(nobody_finds_what_all_have_left),
        TEST(the_last_gives_the_memory_back),
        TEST(a_condemned_one_is_shared_no_more),
        TEST(a_directory_that_others_may_enter_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
