/* main.c - tutti-worker: options, then connect, map the arena, serve. */
#include "schema/failpoint.h"
#include "schema/limits.h"
#include "schema/log.h"
#include "schema/process.h"
#include "worker/across.h"
#include "worker/address.h"
#include "worker/arena_find.h"
#include "worker/arena_map.h"
#include "worker/arena_own.h"
#include "worker/carrier.h"
#include "worker/dial.h"
#include "worker/keeper.h"
#include "worker/link.h"
#include "worker/sandbox.h"
#include "worker/serve.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_OPTION = 2, EXIT_REFUSED = 3, EXIT_LINK = LINK_EXIT_STATUS };

#define RECONNECT_MAX_S 3600

enum opt {
    OPT_server,
    OPT_token_file,
    OPT_rank,
    OPT_device,
    OPT_backend,
    OPT_arena_dir,
    OPT_arena_size,
    OPT_nccl_interface,
    OPT_gloo_interface,
    OPT_reconnect,
    OPT_log_level,
    OPT_log_format,
    OPT_COUNT
};

static const struct {
    const char *name, *env, *fallback, *sentence;
} rows[OPT_COUNT] = {
    [OPT_server] = {"server", "TUTTI_SERVER", NULL,
                    "unix:PATH or HOST:PORT, where the server listens for workers."},
    [OPT_token_file] = {"token-file", "TUTTI_TOKEN_FILE", NULL,
                        "A file, yours alone, with a worker's token: for HOST:PORT only."},
    [OPT_rank] = {"rank", "TUTTI_RANK", "any", "The world rank to hold, or any."},
    [OPT_device] = {"device", "TUTTI_DEVICE", "cpu", "The device: cpu, or gpu:N."},
    [OPT_backend] = {"backend", "TUTTI_BACKEND", "auto",
                     "auto, shm, or nccl or gloo where they were built in."},
    [OPT_arena_dir] = {"arena-dir", "TUTTI_ARENA_DIR", NULL,
                       "Of a worker on another machine: where its host's tensors are, shared by "
                       "the workers of one directory; or a volume shared with the server."},
    [OPT_arena_size] = {"arena-size", "TUTTI_ARENA_SIZE", "4G",
                        "The most bytes there, as 512M or 4G."},
    [OPT_nccl_interface] = {"nccl-interface", "TUTTI_NCCL_INTERFACE", NULL,
                            "The network interface that NCCL uses between machines, as eth0."},
    [OPT_gloo_interface] = {"gloo-interface", "TUTTI_GLOO_INTERFACE", NULL,
                            "The interface or address at which gloo's other hosts reach this one."},
    [OPT_reconnect] =
        {"reconnect", "TUTTI_RECONNECT", "0",
         "Stay, and connect again so many seconds after a link that ended; 0: leave."},
    [OPT_log_level] = {"log-level", "TUTTI_LOG_LEVEL", "info", "error, warn, info or debug."},
    [OPT_log_format] = {"log-format", "TUTTI_LOG_FORMAT", "text", "text or json."},
};

struct worker_options {
    struct link_options link;
    struct token_key key;
    const struct backend *backend;
    const struct backend
        *across;            /* for groups that span hosts; NULL: there is none, or it is that */
    const char *interface;  /* NULL: whichever leads to the server */
    const char *shared_dir; /* --arena-dir, or "" */
    char arena_dir[ARENA_OWN_DIR_BYTES];
    uint64_t arena_bytes;
    int family; /* of the data channel's socket; 0: there is none */
    enum log_level level;
    bool json;
    uint32_t reconnect_s; /* 0: one link, and no second */
};

static void help(void)
{
    puts("usage: tutti-worker --server unix:PATH|HOST:PORT [options]\n\n"
         "Holds one rank of a tutti world and runs its part of every job.\n"
         "Each option has a twin in the environment, which it beats.\n");
    for (int i = 0; i < OPT_COUNT; i++)
        printf("  --%-15s %s [%s]%s%s\n", rows[i].name, rows[i].sentence, rows[i].env,
               rows[i].fallback ? " default " : "", rows[i].fallback ? rows[i].fallback : "");
    puts("  --print-gpus      Print how many GPUs this worker can use here.\n"
         "  --version         Print the version.\n  --help            Print this.");
}

static int read_rank(const char *text, uint32_t *out, struct err *e)
{
    char *end;
    unsigned long rank;

    *out = FRAME_ANY_RANK;
    if (strcmp(text, "any") == 0)
        return 0;
    rank = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || rank >= LIMIT_RANKS)
        return err_set(e, ERR_option, "--rank is a number from 0 to %d, or any", LIMIT_RANKS - 1);
    *out = (uint32_t)rank;
    return 0;
}

static int read_reconnect(const char *text, uint32_t *out, struct err *e)
{
    char *end;
    unsigned long seconds = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || seconds > RECONNECT_MAX_S)
        return err_set(e, ERR_option, "--reconnect is a number of seconds from 0 to %d",
                       RECONNECT_MAX_S);
    *out = (uint32_t)seconds;
    return 0;
}

/* The environment's may be the server's own file: on a Unix socket nobody reads it. */
static int read_key(const char *path, struct worker_options *o, struct err *e)
{
    if (!path)
        return err_set(e, ERR_option,
                       "--server HOST:PORT wants a token: add --token-file FILE with the one that "
                       "`tutti-server --token-file T --new-token NAME:worker` printed");
    o->link.key = &o->key;
    return token_key_read(&o->key, path, e);
}

/* "512M", "4G", or bytes. */
static int read_size(const char *text, uint64_t *out, struct err *e)
{
    static const char units[] = "KMGT";
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;

    if (*text < '0' || *text > '9' || (*end && (!unit || end[1])) ||
        n > (unsigned long long)INT64_MAX >> shift)
        return err_set(e, ERR_option,
                       "--arena-size is a number of bytes, or one with K, M, G or T");
    *out = (uint64_t)n << shift;
    return 0;
}

/* Over TCP alone: else the environment's are the server's own. */
static int read_arena(const char *const value[], struct worker_options *o, struct err *e)
{
    o->shared_dir = value[OPT_arena_dir] ? value[OPT_arena_dir] : "";
    arena_own_default_dir(o->arena_dir);
    if (*o->shared_dir && (size_t)snprintf(o->arena_dir, sizeof o->arena_dir, "%s",
                                           o->shared_dir) >= sizeof o->arena_dir)
        return err_set(e, ERR_option, "--arena-dir is longer than %zu bytes",
                       sizeof o->arena_dir - 1);
    return read_size(value[OPT_arena_size], &o->arena_bytes, e);
}

static int check_values(const char *const value[], struct worker_options *o, struct err *e)
{
    if (!value[OPT_server])
        return err_set(e, ERR_option,
                       "say where the server is: --server unix:PATH, or --server HOST:PORT");
    if (dial_is_tcp(value[OPT_server]) && read_key(value[OPT_token_file], o, e) != 0)
        return -1;
    o->backend = backend_find(value[OPT_backend], value[OPT_device]);
    if (!o->backend)
        return err_set(e, ERR_option, "--backend must be auto or one of: %s", backend_names());
    if (!o->backend->devices && strcmp(value[OPT_device], "cpu") != 0)
        return err_set(e, ERR_option, "--device must be cpu for --backend %s", o->backend->name);
    for (int r = REDUCE_SUM; r < REDUCTION_COUNT; r++) {
        for (int d = 0; d < DTYPE_COUNT; d++)
            o->link.reduces[r] |= (uint32_t)o->backend->reduces((enum reduction)r, (enum dtype)d)
                                  << d;
    }
    if (strcmp(o->backend->name, ACROSS) != 0)
        o->across = backend_find(ACROSS, value[OPT_device]);
    o->link.meets = (o->backend->ticket ? MEETS_by_ticket : 0) |
                    (o->across || strcmp(o->backend->name, ACROSS) == 0 ? MEETS_across : 0);
    o->interface = value[OPT_gloo_interface];
    if (dial_is_tcp(value[OPT_server]) && read_arena(value, o, e) != 0)
        return -1;
    if (value[OPT_nccl_interface])
        setenv("NCCL_SOCKET_IFNAME", value[OPT_nccl_interface], 1);
    if (log_level_find(value[OPT_log_level], &o->level) != 0)
        return err_set(e, ERR_option, "--log-level is error, warn, info or debug");
    o->json = strcmp(value[OPT_log_format], "json") == 0;
    if (!o->json && strcmp(value[OPT_log_format], "text") != 0)
        return err_set(e, ERR_option, "--log-format is text or json");
    if (read_reconnect(value[OPT_reconnect], &o->reconnect_s, e) != 0)
        return -1;
    o->link.server = value[OPT_server];
    o->link.device = value[OPT_device];
    o->link.backend = o->backend->name;
    return read_rank(value[OPT_rank], &o->link.rank, e);
}

static int read_options(int argc, char *argv[], struct worker_options *o, struct err *e)
{
    struct option longs[OPT_COUNT + 4] = {0};
    const char *value[OPT_COUNT];
    int c;

    for (int i = 0; i < OPT_COUNT; i++) {
        const char *twin = getenv(rows[i].env);

        value[i] = twin && *twin ? twin : rows[i].fallback;
        longs[i] = (struct option){.name = rows[i].name, .has_arg = required_argument, .val = i};
    }
    longs[OPT_COUNT] = (struct option){.name = "help", .val = OPT_COUNT};
    longs[OPT_COUNT + 1] = (struct option){.name = "version", .val = OPT_COUNT + 1};
    longs[OPT_COUNT + 2] = (struct option){.name = "print-gpus", .val = OPT_COUNT + 2};
    opterr = 0;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == '?')
            return err_set(e, ERR_option, "%s is no option, or lacks its value; see --help",
                           argv[optind - 1]);
        if (c == OPT_COUNT)
            help();
        if (c == OPT_COUNT + 1)
            puts("tutti-worker " TUTTI_VERSION);
        if (c == OPT_COUNT + 2)
            printf("%u\n", backend_gpus());
        if (c >= OPT_COUNT)
            exit(0);
        value[c] = optarg;
    }
    if (optind < argc)
        return err_set(e, ERR_option, "%s is no option; see --help", argv[optind]);
    return check_values(value, o, e);
}

static pthread_t main_thread;

/* Libraries have threads of their own, which the kernel may choose; it is the main thread that has
 * to be interrupted. */
static void on_term(int sig)
{
    if (pthread_equal(pthread_self(), main_thread))
        serve_stopping = 1;
    else
        pthread_kill(main_thread, sig);
}

/* The server's arena, or else its host's own. The fence, or the lock that stands for it, is held to
 * our end: it tells the server that we may still write. */
static int find_arena(const struct worker_options *o, const struct frame_welcome *w,
                      struct arena_own *out, struct err *e)
{
    struct err why;
    int fence_fd;

    if (arena_find(w, o->shared_dir, &out->map_fd, &fence_fd, &why) == 0) {
        out->nonce = w->arena_nonce;
        out->size_bytes = w->arena_bytes;
        return 0;
    }
    log_info("the server's arena is not to be seen: %s", why.detail);
    if (arena_find_same_boot(w->boot_id))
        log_warn("this is the server's own machine: its tensors go over TCP all the same; to share "
                 "its arena, run as its user and give its --arena-dir, or its volume");
    if (arena_own_open(o->arena_dir, o->arena_bytes, w->session, w->epoch, out, e) != 0)
        return -1;
    return carrier_start(o->link.key, w->epoch, e);
}

/* The arena mapped, the device open. A server that does not see our process is told whether. */
static int settle(struct worker_options *o, const struct frame_welcome *w, int arena_fd,
                  int fence_fd, struct device **device, struct err *e)
{
    bool tcp = dial_is_tcp(o->link.server);
    struct arena_own arena = {
        .nonce = w->arena_nonce, .size_bytes = w->arena_bytes, .map_fd = arena_fd};
    static char address[ADDRESS_BYTES];
    struct err lost;
    int rc = 0;

    /* The fence stays open to our end: its lock tells the server that we may still write. */
    if (tcp)
        rc = find_arena(o, w, &arena, e);
    else if (w->by_lock)
        rc = fence_take(fence_fd, w->epoch, e);
    o->family = arena.nonce != w->arena_nonce ? dial_family() : 0;
    if (rc == 0)
        rc = arena_map_open(arena.map_fd, arena.size_bytes, e);
    if (rc == 0)
        rc = arena_map_window(w->window_bytes, e);
    if (rc == 0 && (tcp || o->interface || !w->one_host))
        rc = address_find(o->interface, link_tcp_fd(), address, e);
    if (rc == 0) {
        struct place at = {.rank = w->rank,
                           .world_size = w->world_size,
                           .one_machine = w->one_machine,
                           .device = o->link.device,
                           .arena = arena_map_base(),
                           .arena_bytes = arena_map_size(),
                           .address = address,
                           .put = across_put};

        rc = o->backend->open(device, &at, e);
        if (rc == 0 && o->across && !w->one_host)
            rc = across_open(o->across, &at, e);
    }
    if (rc != 0 && w->by_lock)
        link_say_ready(w->epoch, 0, 0, e->detail, &lost);
    return rc != 0 || !w->by_lock ? rc
                                  : link_say_ready(w->epoch, arena.nonce, arena.size_bytes, "", e);
}

static int run(struct worker_options *o, struct err *e)
{
    static struct frame welcome;
    static char name[24];
    struct device *device = NULL;
    int arena_fd, fence_fd, rc = -1;

    if (o->backend->describe && o->backend->describe(o->link.device, &o->link.gpu, e) != 0)
        return -1;
    if (link_open(&o->link, &welcome, &arena_fd, &fence_fd, e) != 0)
        return -1;
    snprintf(name, sizeof name, "worker %u", welcome.welcome.rank);
    log_init(name, o->level, o->json);
    failpoint_rank(welcome.welcome.rank);
    if (settle(o, &welcome.welcome, arena_fd, fence_fd, &device, e) != 0 ||
        link_beat(welcome.welcome.epoch, welcome.welcome.heartbeat_ms, serve_progress, e) != 0)
        goto out;
    sandbox_worker(across_backend() ? across_backend() : o->backend, o->family);
    rc = serve(o->backend, device, welcome.welcome.epoch, e);
out:
    across_close();
    if (device)
        o->backend->close(device);
    carrier_stop();
    if (rc == 0 && o->family)
        link_say_left(welcome.welcome.epoch);
    arena_own_close();
    return rc; /* the map, the link and the fence end with the process, which is next */
}

int main(int argc, char *argv[])
{
    struct worker_options o = {0};
    struct err e;

    process_seal();
    if (read_options(argc, argv, &o, &e) != 0) {
        fprintf(stderr, "tutti-worker: %s\n", e.detail);
        return EXIT_OPTION;
    }
    log_init("worker", o.level, o.json);
    if (o.reconnect_s && keeper_start(o.reconnect_s, EXIT_OPTION, &e) != 0) {
        log_error("not started: %s", e.detail);
        return EXIT_LINK;
    }
    failpoint_init();
    /* Ctrl-C reaches the whole terminal group; when to stop is the server's to say. */
    sigaction(SIGINT, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    main_thread = pthread_self();
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL); /* interrupts recv */
    if (run(&o, &e) == 0)
        return 0;
    if (e.code == ERR_refused || (e.code == ERR_arena && o.family)) {
        log_error("refused: %s", e.detail);
        if (e.code == ERR_arena)
            arena_own_condemn();
        return EXIT_REFUSED;
    }
    if (e.code == ERR_option) {
        log_error("%s", e.detail);
        return EXIT_OPTION;
    }
    if (!serve_stopping)
        log_info("leaving: %s", e.detail);
    return serve_stopping ? 0 : EXIT_LINK;
}
