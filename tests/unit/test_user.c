/* test_user.c - who is found, and that whoever was root has no way back. */
#include "tests/unit/unit.h"

#include "server/user.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct err e;

static void a_name_is_looked_up_and_numbers_are_taken(void **state)
{
    struct user u;

    (void)state;
    assert_int_equal(user_find(&u, "nobody", &e), 0);
    assert_true(u.given && u.uid == 65534 && u.gid == 65534);
    assert_string_equal(u.name, "nobody");
    assert_string_not_equal(u.home, "");
    assert_int_equal(user_find(&u, "1234:4294967294", &e), 0);
    assert_true(u.given && u.uid == 1234 && u.gid == 4294967294u);
    assert_string_equal(u.name, "");
    assert_string_equal(u.home, "");
}

static void root_and_what_is_nobody_are_refused(void **state)
{
    static const char *const texts[] = {
        "root", "0:0",  "0:1", "1:0",   "1",    "1:", ":1",           "1:2:",        "-1:1",
        "1:+1", "1: 1", "",    "x y z", "1:-1", "",   "1:4294967295", "4294967295:1"};
    struct user u = {.uid = 77};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (user_find(&u, texts[i], &e) == 0)
            fail_msg("\"%s\" should be refused", texts[i]);
        assert_int_equal(e.code, ERR_option);
        assert_int_equal(u.uid, 77);
    }
}

static uint64_t effective_capabilities(void)
{
    char line[128];
    unsigned long long bits = UINT64_MAX;
    FILE *f = fopen("/proc/self/status", "re");

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "CapEff: %llx", &bits) == 1)
            break;
    if (f)
        fclose(f);
    return bits;
}

/* 0, or which of its promises does not hold. */
static int became(void)
{
    const struct user u = {.given = true, .uid = 4321, .gid = 5432};
    gid_t groups[8];

    setgroups(1, (gid_t[]){0});
    setenv("HOME", "/root", 1);
    if (user_become(&u, &e) != 0)
        return 1;
    if (getuid() != 4321 || geteuid() != 4321 || getgid() != 5432 || getegid() != 5432)
        return 2;
    if (getgroups(8, groups) != 0)
        return 3;
    if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0)
        return 4;
    if (effective_capabilities() != 0)
        return 5;
    if (getenv("HOME"))
        return 6;
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 7;
    return user_become(&u, &e) == 0 ? 0 : 8; /* it is that user already */
}

static int became_another(void)
{
    const struct user u = {.given = true, .uid = 4321, .gid = 5432};
    const struct user other = {.given = true, .uid = 4322, .gid = 5432};

    if (user_become(&u, &e) != 0)
        return 1;
    return user_become(&other, &e) != 0 && e.code == ERR_option ? 0 : 2;
}

static int in_child(int (*body)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(body());
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void root_becomes_a_user_for_good(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("NOTE skipped: only root can become another user\n");
        return;
    }
    assert_int_equal(in_child(became), 0);
    assert_int_equal(in_child(became_another), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_looked_up_and_numbers_are_taken),
        cmocka_unit_test(root_and_what_is_nobody_are_refused),
        cmocka_unit_test(root_becomes_a_user_for_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
