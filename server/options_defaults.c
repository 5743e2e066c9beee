/* options_defaults.c - what was not said: worker count, directories, sizes; and what must fit
 * together. */
#include "server/options_values.h"
#include "server/launch.h"
#include "schema/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#define ARENA_DEFAULT_BYTES (4ull << 30)
#define LEAST_WORKERS 2u

static uint32_t usable_cores(void)
{
    cpu_set_t set;
    uint32_t n = LEAST_WORKERS;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > (int)n)
        n = (uint32_t)CPU_COUNT(&set);
    return n < LIMIT_RANKS ? n : LIMIT_RANKS;
}

/* auto: NCCL when every worker to be started can have a GPU of its own. */
static int complete_backend(struct options *o, struct err *e)
{
    bool all = o->workers == OPTION_AUTO, named = strcmp(o->backend, "nccl") == 0;
    bool either = strcmp(o->backend, "auto") == 0;
    uint32_t gpus = (named || either) && o->workers > 0 ? launch_gpus() : 0;

    if (named && o->workers > 0 && gpus == 0)
        return err_set(e, ERR_option,
                       "--backend nccl: no GPU that this build can use is here: write shm");
    if (named && !all && o->workers > gpus)
        return err_set(e, ERR_option, "--workers %u: nccl takes a GPU a worker, and there are %u",
                       o->workers, gpus);
    o->gpus = gpus > 0 && (all || o->workers <= gpus);
    if (either)
        strcpy(o->backend, o->gpus ? "nccl" : "shm");
    if (o->gpus && all)
        o->workers = o->world && gpus > o->world ? o->world : gpus;
    return 0;
}

/* What a GPU writes to pinned pages goes past the kernel, which then does not know that they are to
 * be flushed. */
static int check_durable(const struct options *o, struct err *e)
{
    if (!o->durable || strcmp(o->backend, "nccl") != 0)
        return 0;
    return err_set(e, ERR_option,
                   "--durable: what GPUs write to the arena cannot be flushed to a disk: write "
                   "--backend shm, or leave --durable out");
}

static int complete_world(struct options *o, struct err *e)
{
    if (o->workers == OPTION_AUTO) {
        o->workers = usable_cores();
        if (o->world && o->workers > o->world)
            o->workers = o->world;
    }
    if (o->world == 0)
        o->world = o->workers;
    if (o->world == 0)
        return err_set(e, ERR_option,
                       "--workers 0 starts none: add --world N for the ranks that will join");
    if (o->workers > o->world)
        return err_set(e, ERR_option, "--workers %u do not fit into --world %u", o->workers,
                       o->world);
    return 0;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

const char *options_reach(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1" : strcmp(host, "::") == 0 ? "::1" : host;
}

static int check_together(const struct options *o, struct err *e)
{
    if ((o->tls_cert[0] != '\0') != (o->tls_key[0] != '\0'))
        return err_set(e, ERR_option, "--tls-cert and --tls-key go together: give both");
    if (o->tls_cert[0] && !o->listen_host[0])
        return err_set(e, ERR_option,
                       "--tls-cert: TLS is for a port, and there is none: add --listen HOST:PORT");
    if (o->token_file[0] && o->insecure_no_auth)
        return err_set(e, ERR_option,
                       "--token-file and --insecure-no-auth exclude each other: leave one out");
    if (o->no_unix && o->listen_path_given)
        return err_set(e, ERR_option,
                       "--no-unix and --listen unix:%s exclude each other: leave one out",
                       o->listen_path);
    return 0;
}

/* Whoever starts it at a terminal is given a token of this process: main.c. */
static int check_listen(struct options *o, struct err *e)
{
    bool beyond = o->listen_host[0] && !is_loopback(o->listen_host);

    if (check_together(o, e) != 0)
        return -1;
    if ((!beyond && !(o->listen_mode & 077)) || o->insecure_no_auth || o->token_file[0])
        return 0;
    o->own_token = isatty(STDOUT_FILENO);
    if (o->own_token)
        return 0;
    if (!beyond)
        return err_set(e, ERR_option,
                       "--listen-mode %04o: other users could connect, and nobody is asked who "
                       "they are; write 0600, or make a token (--token-file FILE --new-token "
                       "alice:user) and add --token-file FILE, or --insecure-no-auth if that is "
                       "meant",
                       (unsigned)o->listen_mode);
    return err_set(e, ERR_option,
                   "--listen %s: other machines can reach it, and nobody is asked who they are; "
                   "listen on 127.0.0.1, or make a token (--token-file FILE --new-token "
                   "alice:user) and add --token-file FILE, or --insecure-no-auth if that is meant",
                   o->listen_host);
}

static int __attribute__((format(printf, 4, 5)))
put(char *to, size_t size, struct err *e, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(to, size, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= size)
        return err_set(e, ERR_option, "a directory's name is too long");
    return 0;
}

/* Absolute, so that it means the same to every process and in every message. */
static int make_absolute(char *dir, size_t size, struct err *e)
{
    char given[PATH_MAX], here[PATH_MAX];

    if (dir[0] == '/')
        return 0;
    if (!getcwd(here, sizeof here) || put(given, sizeof given, e, "%s", dir) != 0)
        return err_set(e, ERR_option, "\"%.60s\": write an absolute path", dir);
    return put(dir, size, e, "%s/%s", here, given);
}

static int complete_data_dir(struct options *o, struct err *e)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

    if (o->user.given) { /* what root's environment says is root's */
        state = NULL;
        home = o->user.home;
    }

    if (o->data_dir[0])
        return make_absolute(o->data_dir, sizeof o->data_dir, e);
    if (state && state[0] == '/')
        return put(o->data_dir, sizeof o->data_dir, e, "%s/tutti", state);
    if (home && home[0] == '/')
        return put(o->data_dir, sizeof o->data_dir, e, "%s/.local/state/tutti", home);
    if (geteuid() == 0)
        return put(o->data_dir, sizeof o->data_dir, e, "/var/lib/tutti");
    return err_set(e, ERR_option, "there is no HOME: add --data-dir DIR");
}

/* The same number for the same directory, however it is written, before and after it is made. */
static uint64_t directory_hash(const char *dir)
{
    char real[PATH_MAX], parent[PATH_MAX];
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    const char *rest = "";

    snprintf(parent, sizeof parent, "%s", dir);
    while (!realpath(parent, real)) { /* the part that is there, then what is written after it */
        char *slash = strrchr(parent, '/');

        if (!slash || slash == parent) {
            snprintf(real, sizeof real, "%s", "");
            rest = dir;
            break;
        }
        *slash = '\0';
        rest = dir + (slash - parent);
    }
    for (const char *part = real; part; part = part == real ? rest : NULL) {
        for (const char *c = part; *c; c++) {
            if (*c == '/' && (c[1] == '/' || c[1] == '\0'))
                continue; /* "a//b/" is "a/b" */
            hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
        }
    }
    return hash;
}

static int complete_arena_dir(struct options *o, struct err *e)
{
    if (o->arena_dir[0])
        return make_absolute(o->arena_dir, sizeof o->arena_dir, e);
    if (o->durable)
        return put(o->arena_dir, sizeof o->arena_dir, e, "%s", o->data_dir);
    return put(o->arena_dir, sizeof o->arena_dir, e, "/dev/shm/tutti-%u-%010llx",
               (unsigned)(o->user.given ? o->user.uid : geteuid()),
               (unsigned long long)(directory_hash(o->data_dir) & 0xffffffffffu));
}

/* An arena that is there keeps its size: what is free is no measure, since its own pages are in
 * use. */
static int complete_arena_size(struct options *o, struct err *e)
{
    char path[PATH_MAX];
    struct statvfs fs;
    struct stat s;

    if (o->arena_size_bytes)
        return 0;
    if (put(path, sizeof path, e, "%s/arena", o->arena_dir) != 0)
        return -1;
    if (stat(path, &s) == 0 && (uint64_t)s.st_size >= LIMIT_ARENA_MIN_BYTES) {
        o->arena_size_bytes = (uint64_t)s.st_size;
        return 0;
    }
    while (statvfs(path, &fs) != 0) { /* the nearest directory that is there */
        char *slash = strrchr(path, '/');

        if (path[1] == '\0')
            return err_sys(e, ERR_option, errno, "--arena-dir %s", o->arena_dir);
        slash[slash == path] = '\0';
    }
    o->arena_size_bytes = fs.f_bavail * fs.f_frsize / 2 / LIMIT_CHUNK_BYTES * LIMIT_CHUNK_BYTES;
    if (o->arena_size_bytes > ARENA_DEFAULT_BYTES)
        o->arena_size_bytes = ARENA_DEFAULT_BYTES;
    if (o->arena_size_bytes < LIMIT_ARENA_MIN_BYTES)
        return err_set(e, ERR_option, "--arena-dir %s: no room is left there", o->arena_dir);
    return 0;
}

/* A socket's name has 107 bytes. The arena's directory is as private as the data directory, and its
 * name is short. */
static int complete_worker_listen(struct options *o, struct err *e)
{
    const size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path + strlen("unix:");

    if (o->worker_host[0] && !o->token_file[0])
        return err_set(e, ERR_option,
                       "--worker-listen %s:%u: a worker has to prove who it is: make it a token "
                       "(--token-file FILE --new-token NAME:worker) and add --token-file FILE",
                       o->worker_host, o->worker_port);
    if (o->worker_listen[0])
        return 0;
    if (put(o->worker_listen, room, e, "unix:%s/worker.sock", o->data_dir) == 0)
        return 0;
    if (put(o->worker_listen, room, e, "unix:%s/worker.sock", o->arena_dir) == 0)
        return 0;
    return err_set(e, ERR_option,
                   "both directories have names too long for a socket: add --worker-listen "
                   "unix:PATH");
}

/* As with the workers' socket; but where its name would be too long, the port is enough. */
static int complete_listen_path(struct options *o, struct err *e)
{
    const size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path;

    if (o->no_unix)
        return 0;
    if (o->listen_path_given) {
        if (make_absolute(o->listen_path, sizeof o->listen_path, e) != 0)
            return -1;
        if (strlen(o->listen_path) < room)
            return 0;
        return err_set(e, ERR_option,
                       "--listen unix:%s is longer than the %zu bytes of a socket's name",
                       o->listen_path, room - 1);
    }
    if (put(o->listen_path, room, e, "%s/http.sock", o->data_dir) != 0 &&
        put(o->listen_path, room, e, "%s/http.sock", o->arena_dir) != 0)
        o->listen_path[0] = '\0';
    return 0;
}

/* What is why it is closed, or NULL. */
static const char *lane_closed(const struct options *o)
{
    if (o->no_lane)
        return "--lane off";
    if (strcmp(o->backend, "shm") != 0)
        return "ranks that are not on shm do not map it";
    return o->worker_host[0] ? "workers over TCP do not map it" : NULL;
}

static int complete_lane(struct options *o, struct err *e)
{
    const size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path;
    bool asked = o->lane[0] || o->lane_size_bytes;
    const char *closed = lane_closed(o);

    if (closed && asked && !o->no_lane)
        return err_set(e, ERR_option, "--lane: %s: leave --lane and --lane-size out", closed);
    if (closed) {
        o->lane[0] = '\0';
        o->lane_size_bytes = 0;
        return 0;
    }
    if (!o->lane_size_bytes)
        o->lane_size_bytes = o->arena_size_bytes / 2;
    if (o->lane_size_bytes > INT64_MAX / 16)
        return err_set(e, ERR_option, "--lane-size: there are not so many addresses");
    if (o->lane[0])
        return make_absolute(o->lane, sizeof o->lane, e);
    if (put(o->lane, room, e, "%s/lane.sock", o->data_dir) != 0 &&
        put(o->lane, room, e, "%s/lane.sock", o->arena_dir) != 0) {
        o->lane[0] = '\0'; /* as with the service's own: without it everything goes over that */
        o->lane_size_bytes = 0;
    }
    return 0;
}

int options_complete(struct options *o, struct err *e)
{
    if (o->new_token[0]) /* it serves nothing */
        return o->token_file[0]
                   ? 0
                   : err_set(e, ERR_option, "--new-token: say which file: add --token-file FILE");
    if (o->health)
        return 0;
    if (complete_backend(o, e) != 0 || check_durable(o, e) != 0 || complete_world(o, e) != 0 ||
        check_listen(o, e) != 0 || complete_data_dir(o, e) != 0 || complete_arena_dir(o, e) != 0 ||
        complete_arena_size(o, e) != 0 || complete_listen_path(o, e) != 0)
        return -1;
    return complete_worker_listen(o, e) != 0 ? -1 : complete_lane(o, e);
}
