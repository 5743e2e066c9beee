/* test_arena_find.c - a worker finds the server's arena by its name, and no other file; while it
 * lives, the server knows it by its lock.
 */
#include "tests/unit/unit.h"

#include "schema/log.h"
#include "server/arena.h"
#include "server/fence.h"
#include "worker/arena_find.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARENA (4ull << 20)
#define EPOCH 1795712753174510ull

static char dir[64];
static struct arena *arena;
static struct frame_welcome w;
static struct err e;
static const char *look_in = ""; /* not where WELCOME says */

static int set_up(void **state)
{
    bool kept;

    (void)state;
    log_init("test", LOG_error, false);
    strcpy(dir, "/dev/shm/tutti-find-XXXXXX");
    if (!mkdtemp(dir) || arena_open(&arena, dir, ARENA, 0, &kept, &e) != 0 ||
        fence_open(dir, &e) != 0)
        return -1;
    w = (struct frame_welcome){
        .epoch = EPOCH, .arena_bytes = arena_size(arena), .arena_nonce = arena_nonce(arena)};
    snprintf(w.arena_path, sizeof w.arena_path, "%s", arena_path(arena));
    snprintf(w.fence_path, sizeof w.fence_path, "%s", fence_path());
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"arena", "arena.lock", "fence", "workers.pids", "link"};
    char path[128];

    (void)state;
    fence_close();
    arena_close(arena);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    return rmdir(dir);
}

/* A process of its own: whoever holds the lock does not see it. */
static pid_t worker(int tell)
{
    pid_t pid = fork();
    int arena_fd, fence_fd;

    if (pid == 0) {
        char found = arena_find(&w, look_in, &arena_fd, &fence_fd, &e) == 0;

        if (write(tell, &found, 1) != 1)
            _exit(1);
        while (found)
            pause();
        _exit(0);
    }
    return pid;
}

static void a_lock_tells_who_lives_until_it_has_ended(void **state)
{
    char found = 0;
    pid_t pid, holder;
    int tell[2];

    (void)state;
    assert_int_equal(pipe(tell), 0);
    assert_false(fence_held(EPOCH, &holder));
    pid = worker(tell[1]);
    assert_int_equal(read(tell[0], &found, 1), 1);
    assert_true(found);
    assert_true(fence_held(EPOCH, &holder));
    assert_int_equal(holder, pid);
    assert_false(fence_held(EPOCH + 1, &holder)); /* another life's place */
    kill(pid, SIGSTOP);
    assert_true(fence_held(EPOCH, &holder)); /* stopped is not ended */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_false(fence_held(EPOCH, &holder));
    close(tell[0]);
    close(tell[1]);
}

/* fence_open asks for this lock. */
static void it_holds_off_the_next_server_as_the_others_do(void **state)
{
    int tell[2], fd = open(fence_path(), O_RDWR | O_CLOEXEC);
    char found = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(tell), 0);
    pid = worker(tell[1]);
    assert_int_equal(read(tell[0], &found, 1), 1);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
    close(tell[0]);
    close(tell[1]);
}

static void refuses(const char *text)
{
    int arena_fd = 0, fence_fd = 0;

    assert_int_equal(arena_find(&w, look_in, &arena_fd, &fence_fd, &e), -1);
    assert_int_equal(e.code, ERR_refused);
    assert_non_null(strstr(e.detail, text));
}

static void what_is_not_the_servers_arena_is_refused(void **state)
{
    char link[128], path[512];
    struct arena_header h;

    (void)state;
    strcpy(path, w.arena_path);
    w.arena_nonce++;
    refuses("not the arena of this server");
    w.arena_nonce--;
    w.arena_bytes += 4096;
    refuses("not the arena of this server");
    w.arena_bytes -= 4096;
    assert_int_equal(pread(arena_fd(arena), &h, sizeof h, 0), sizeof h);
    h.boot_id[0] ^= 1; /* a file of another machine, or of before its restart */
    assert_int_equal(pwrite(arena_fd(arena), &h, sizeof h, 0), sizeof h);
    refuses("not the arena of this server");
    h.boot_id[0] ^= 1;
    assert_int_equal(pwrite(arena_fd(arena), &h, sizeof h, 0), sizeof h);
    snprintf(link, sizeof link, "%s/link", dir);
    assert_int_equal(symlink(path, link), 0);
    strcpy(w.arena_path, link);
    refuses("cannot open");
    strcat(w.arena_path, "-not-there");
    refuses("cannot open");
    assert_int_not_equal(access(w.arena_path, F_OK), 0); /* and is not made */
}

/* A container that has the server's volume under another name. */
static void another_directory_is_looked_into_instead(void **state)
{
    int arena_fd, fence_fd;

    (void)state;
    strcpy(w.arena_path, "/not/here/arena");
    strcpy(w.fence_path, "/not/here/fence");
    refuses("cannot open /not/here/fence");
    look_in = dir;
    assert_int_equal(arena_find(&w, look_in, &arena_fd, &fence_fd, &e), 0);
    close(arena_fd);
    close(fence_fd);
    look_in = "/dev/shm";
    refuses("cannot open /dev/shm/fence");
    look_in = "";
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_lock_tells_who_lives_until_it_has_ended),
        TEST(it_holds_off_the_next_server_as_the_others_do),
        TEST(what_is_not_the_servers_arena_is_refused),
        TEST(another_directory_is_looked_into_instead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
