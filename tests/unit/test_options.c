/* test_options.c - an option beats its twin, the twin beats the default, and a refusal says what to
 * write. */
#include "tests/unit/unit.h"

#include "schema/limits.h"
#include "server/options.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct options o;
static struct err e;

static int read_all(const char *const *args)
{
    char *argv[32] = {strdup("tutti-server")};
    int argc = 1, rc;

    while (*args)
        argv[argc++] = strdup(*args++);
    rc = options_read(&o, argc, argv, &e);
    while (argc > 0)
        free(argv[--argc]);
    return rc;
}

#define READ(...) read_all((const char *const[]){__VA_ARGS__, NULL})
#define READ_NONE() read_all((const char *const[]){NULL})

static int set_up(void **state)
{
    (void)state;
    clearenv();
    setenv("HOME", "/home/somebody", 1);
    return 0;
}

static void the_defaults_are_those_of_the_readme(void **state)
{
    (void)state;
    assert_int_equal(READ_NONE(), 0);
    assert_string_equal(o.listen_host, "127.0.0.1");
    assert_int_equal(o.listen_port, 8080);
    assert_true(o.workers >= 2 && o.world == o.workers);
    assert_string_equal(o.backend, "shm");
    assert_string_equal(o.data_dir, "/home/somebody/.local/state/tutti");
    assert_int_equal(strncmp(o.arena_dir, "/dev/shm/tutti-", 15), 0);
    assert_true(o.arena_size_bytes >= LIMIT_ARENA_MIN_BYTES && o.arena_size_bytes <= 4ull << 30);
    assert_string_equal(o.worker_listen, "unix:/home/somebody/.local/state/tutti/worker.sock");
    assert_int_equal(o.retain_us, 3600000000u);
    assert_int_equal(o.log_level, LOG_info);
    assert_false(o.log_json || o.insecure_no_auth || o.print_tables);
}

static void an_option_beats_its_twin_and_the_twin_the_default(void **state)
{
    (void)state;
    setenv("TUTTI_RETAIN", "7", 1);
    setenv("TUTTI_LOG_LEVEL", "", 1); /* as compose leaves it: not set */
    assert_int_equal(READ_NONE(), 0);
    assert_int_equal(o.retain_us, 7000000);
    assert_int_equal(o.log_level, LOG_info);
    assert_int_equal(READ("--retain", "9"), 0);
    assert_int_equal(o.retain_us, 9000000);
    assert_int_equal(READ("--retain=0"), 0);
    assert_int_equal(o.retain_us, 0);
    setenv("TUTTI_RETAIN", "never", 1);
    assert_int_equal(READ_NONE(), -1);
    assert_non_null(strstr(e.detail, "TUTTI_RETAIN"));
    assert_int_equal(READ("--retain", "9"), 0); /* a twin that is beaten is not read */
}

static void every_value_is_understood(void **state)
{
    (void)state;
    assert_int_equal(READ("--listen", "[::1]:0", "--workers", "3", "--world", "5", "--backend",
                          "shm", "--data-dir", "/var/d", "--arena-dir", "/dev/shm/a",
                          "--arena-size", "512M", "--worker-listen", "unix:/run/w",
                          "--worker-listen", "[::]:7070", "--token-file", "/run/t",
                          "--allowed-host", "a.example", "--allowed-host", "b.example",
                          "--allowed-origin", "http://c", "--log-level", "debug", "--log-format",
                          "json", "--print-tables"),
                     0);
    assert_string_equal(o.listen_host, "::1");
    assert_int_equal(o.listen_port, 0);
    assert_int_equal(o.workers, 3);
    assert_int_equal(o.world, 5);
    assert_int_equal(o.arena_size_bytes, 512u << 20);
    assert_string_equal(o.worker_listen, "unix:/run/w");
    assert_string_equal(o.worker_host, "::");
    assert_int_equal(o.worker_port, 7070);
    assert_string_equal(o.allowed_hosts, "a.example,b.example");
    assert_string_equal(o.allowed_origins, "http://c");
    assert_int_equal(o.log_level, LOG_debug);
    assert_true(o.log_json && o.print_tables);
    assert_int_equal(READ("--listen", "localhost:65535", "--data-dir", "here"), 0);
    assert_int_equal(o.listen_port, 65535);
    assert_int_equal(o.data_dir[0], '/'); /* made absolute */
}

static void the_unix_socket_is_beside_the_port_or_alone(void **state)
{
    (void)state;
    assert_int_equal(READ_NONE(), 0);
    assert_string_equal(o.listen_path, "/home/somebody/.local/state/tutti/http.sock");
    assert_false(o.listen_path_given);
    assert_int_equal(o.listen_mode, 0600);
    assert_int_equal(READ("--listen", "127.0.0.1:1", "--listen", "unix:/run/h"), 0);
    assert_string_equal(o.listen_host, "127.0.0.1");
    assert_string_equal(o.listen_path, "/run/h");
    assert_int_equal(READ("--listen", "unix:/run/h,[::1]:2"), 0);
    assert_string_equal(o.listen_host, "::1");
    assert_int_equal(o.listen_port, 2);
    assert_string_equal(o.listen_path, "/run/h");
    assert_int_equal(READ("--listen", "unix:h"), 0);
    assert_string_equal(o.listen_host, "");
    assert_int_equal(o.listen_path[0], '/'); /* made absolute */
    assert_int_equal(READ("--no-unix"), 0);
    assert_string_equal(o.listen_path, "");
    setenv("TUTTI_LISTEN", "127.0.0.1:3,unix:/run/t", 1);
    assert_int_equal(READ_NONE(), 0);
    assert_int_equal(o.listen_port, 3);
    assert_string_equal(o.listen_path, "/run/t");
    assert_int_equal(READ("--listen", "127.0.0.1:4,"), -1);
    assert_non_null(strstr(e.detail, "HOST:PORT"));
    assert_int_equal(READ("--listen-mode", "0666"), -1);
    assert_int_equal(READ("--listen-mode", "0666", "--token-file", "/run/t"), 0);
    assert_int_equal(o.listen_mode, 0666);
}

/* The name of a socket has 107 bytes: where both directories' are too long, the port is enough. */
static void a_socket_by_default_is_where_its_name_fits(void **state)
{
    char data[128] = "/data", arena[128] = "/arena";

    (void)state;
    memset(data + 5, 'd', 100);
    assert_int_equal(READ("--data-dir", data, "--arena-dir", "/a", "--arena-size", "1M"), 0);
    assert_string_equal(o.listen_path, "/a/http.sock");
    memset(arena + 6, 'a', 100);
    assert_int_equal(READ("--data-dir", data, "--arena-dir", arena, "--arena-size", "1M",
                          "--worker-listen", "unix:/w"),
                     0);
    assert_string_equal(o.listen_path, "");
    assert_string_equal(o.lane, "");
    assert_int_equal(o.lane_size_bytes, 0);
}

/* Closed where ranks would not map what clients share; which is said to whoever asks for it. */
static void the_lane_is_open_where_all_ranks_map_it(void **state)
{
    (void)state;
    assert_int_equal(READ("--data-dir", "/d", "--arena-dir", "/a", "--arena-size", "8M"), 0);
    assert_string_equal(o.lane, "/d/lane.sock");
    assert_int_equal(o.lane_size_bytes, 4 << 20);
    assert_int_equal(READ("--lane", "l", "--lane-size", "1M"), 0);
    assert_int_equal(o.lane[0], '/'); /* made absolute */
    assert_int_equal(o.lane_size_bytes, 1 << 20);
    assert_int_equal(READ("--lane", "off"), 0);
    assert_string_equal(o.lane, "");
    assert_int_equal(READ("--lane-size", "0"), 0);
    assert_string_equal(o.lane, "");
    assert_int_equal(READ("--backend", "gloo"), 0);
    assert_string_equal(o.lane, "");
    assert_int_equal(o.lane_size_bytes, 0);
    assert_int_equal(READ("--backend", "gloo", "--lane", "/l"), -1);
    assert_non_null(strstr(e.detail, "leave --lane"));
    assert_int_equal(READ("--lane", ""), -1);
}

static void durable_tensors_lie_beside_the_database(void **state)
{
    (void)state;
    assert_int_equal(READ("--durable", "--data-dir", "/var/d", "--arena-size", "4M"), 0);
    assert_true(o.durable);
    assert_string_equal(o.arena_dir, "/var/d");
    assert_int_equal(READ("--durable", "--arena-dir", "/mnt/a", "--arena-size", "4M"), 0);
    assert_string_equal(o.arena_dir, "/mnt/a");
    setenv("TUTTI_DURABLE", "1", 1);
    assert_int_equal(READ("--data-dir", "/var/d", "--arena-size", "4M"), 0);
    assert_true(o.durable);
    setenv("TUTTI_DURABLE", "0", 1);
    assert_int_equal(READ_NONE(), 0);
    assert_false(o.durable);
    assert_int_equal(READ("--durable", "--backend", "nccl", "--workers", "0", "--world", "1"), -1);
    assert_non_null(strstr(e.detail, "--durable"));
}

static void sizes_are_powers_of_1024_from_1m_up(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes; /* 0: refused */
    } cases[] = {
        {"1048576", 1 << 20},
        {"1M", 1 << 20},
        {"1024k", 1 << 20},
        {"4G", 4ull << 30},
        {"2t", 2ull << 40},
        {"1048575", 0},
        {"", 0},
        {"G", 0},
        {"-4G", 0},
        {"4GB", 0},
        {"4 G", 0},
        {"1e9", 0},
        {"9999999999999G", 0},
        {"18446744073709551616", 0},
        {"8388608T", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int rc = READ("--arena-size", cases[i].text);

        assert_int_equal(rc, cases[i].bytes ? 0 : -1);
        if (rc == 0)
            assert_int_equal(o.arena_size_bytes, cases[i].bytes);
        else
            assert_non_null(strstr(e.detail, "--arena-size"));
    }
}

static void a_refusal_names_the_option_and_what_to_write(void **state)
{
    static const struct {
        const char *args[4], *says;
    } cases[] = {
        {{"--listne", "x"}, "--help"},
        {{"listen"}, "--help"},
        {{"--listen"}, "HOST:PORT"},
        {{"--listen", "8080"}, "HOST:PORT"},
        {{"--listen", ":8080"}, "HOST:PORT"},
        {{"--listen", "::1:8080"}, "[::1]"},
        {{"--listen", "127.0.0.1:65536"}, "65535"},
        {{"--listen", "127.0.0.1:80x"}, "number"},
        {{"--listen", "0.0.0.0:8080"}, "--insecure-no-auth"},
        {{"--listen", "[::]:8080"}, "--insecure-no-auth"},
        {{"--listen", "128.0.0.1:8080"}, "--insecure-no-auth"},
        {{"--workers", "-1"}, "number"},
        {{"--workers", "1025"}, "1024"},
        {{"--workers", "0"}, "--world"},
        {{"--world", "0"}, "at least one"},
        {{"--world", "2", "--workers=3"}, "do not fit"},
        {{"--backend", "nccl"}, "no GPU"}, /* nor a worker program beside this test */
        {{"--backend", "mpi"}, "shm, nccl, gloo or auto"},
        {{"--worker-listen", "127.0.0.1:9"}, "NAME:worker"}, /* nobody could prove who he is */
        {{"--worker-listen", "127.0.0.1"}, "HOST:PORT"},
        {{"--worker-listen", "unix:"}, "unix:PATH"},
        {{"--retain", "1.5"}, "number"},
        {{"--log-level", "loud"}, "debug"},
        {{"--log-format", "xml"}, "json"},
        {{"--insecure-no-auth=1"}, "alone"},
        {{"--data-dir", ""}, "1 to"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(read_all(cases[i].args), -1);
        assert_int_equal(e.code, ERR_option);
        if (!strstr(e.detail, cases[i].says))
            fail_msg("%s %s: %s", cases[i].args[0], cases[i].args[1] ? cases[i].args[1] : "",
                     e.detail);
    }
    assert_int_equal(READ("--listen", "0.0.0.0:1", "--insecure-no-auth"), 0);
}

static void directories_follow_the_environment(void **state)
{
    char first[4096];

    (void)state;
    setenv("XDG_STATE_HOME", "/state", 1);
    assert_int_equal(READ_NONE(), 0);
    assert_string_equal(o.data_dir, "/state/tutti");
    strcpy(first, o.arena_dir);
    assert_int_equal(READ("--data-dir", "/state//tutti/"), 0); /* the same place */
    assert_string_equal(o.arena_dir, first);
    assert_int_equal(READ("--data-dir", "/state/other"), 0); /* another: its own arena */
    assert_string_not_equal(o.arena_dir, first);
    clearenv();
    if (geteuid() == 0) {
        assert_int_equal(READ_NONE(), 0);
        assert_string_equal(o.data_dir, "/var/lib/tutti");
    } else {
        assert_int_equal(READ_NONE(), -1);
    }
}

static void the_arena_of_a_directory_is_the_same_before_and_after_it_is_made(void **state)
{
    char dir[] = "/tmp/tutti-options-XXXXXX", data[64], first[4096];

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(data, sizeof data, "%s/data", dir);
    assert_int_equal(READ("--data-dir", data), 0);
    strcpy(first, o.arena_dir);
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(READ("--data-dir", data), 0);
    assert_string_equal(o.arena_dir, first);
    rmdir(data);
    rmdir(dir);
}

static void an_arena_that_is_there_keeps_its_size(void **state)
{
    char dir[] = "/tmp/tutti-options-XXXXXX", file[64];
    int fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/arena", dir);
    fd = open(file, O_RDWR | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, 3 << 20), 0);
    close(fd);
    assert_int_equal(READ("--arena-dir", dir), 0);
    assert_int_equal(o.arena_size_bytes, 3 << 20);
    unlink(file);
    rmdir(dir);
}

static void a_long_data_directory_puts_the_socket_beside_the_arena(void **state)
{
    char dir[160] = "/";

    (void)state;
    memset(dir + 1, 'd', 120);
    assert_int_equal(READ("--data-dir", dir), 0);
    assert_int_equal(strncmp(o.worker_listen, "unix:/dev/shm/tutti-", 20), 0);
    assert_int_equal(READ("--data-dir", dir, "--arena-dir", dir), -1);
    assert_non_null(strstr(e.detail, "--worker-listen"));
    dir[107 - strlen("/worker.sock") + 1] = '\0'; /* one byte too long */
    assert_int_equal(READ("--data-dir", dir), 0);
    assert_int_equal(strncmp(o.worker_listen, "unix:/dev/shm/tutti-", 20), 0);
    dir[107 - strlen("/worker.sock")] = '\0'; /* exactly what fits */
    assert_int_equal(READ("--data-dir", dir), 0);
    assert_int_equal(strlen(o.worker_listen), strlen("unix:") + 107);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        T(the_defaults_are_those_of_the_readme),
        T(an_option_beats_its_twin_and_the_twin_the_default),
        T(every_value_is_understood),
        T(the_unix_socket_is_beside_the_port_or_alone),
        T(a_socket_by_default_is_where_its_name_fits),
        T(the_lane_is_open_where_all_ranks_map_it),
        T(durable_tensors_lie_beside_the_database),
        T(sizes_are_powers_of_1024_from_1m_up),
        T(a_refusal_names_the_option_and_what_to_write),
        T(directories_follow_the_environment),
        T(the_arena_of_a_directory_is_the_same_before_and_after_it_is_made),
        T(an_arena_that_is_there_keeps_its_size),
        T(a_long_data_directory_puts_the_socket_beside_the_arena),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
