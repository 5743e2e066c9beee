/* options.c - the table of options: argv, then the environment, then the default; --help from the
 * rows. */
#include "server/options.h"
#include "server/options_values.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 64

struct row {
    const char *name;   /* without the dashes */
    const char *value;  /* what --help calls it; NULL: a switch */
    const char *preset; /* NULL: found out at start, or off */
    int (*set)(struct options *o, const char *text, struct err *e);
    const char *sentence;
};

/* clang-format off */
static const struct row rows[] = {
    {"listen", "HOST:PORT|unix:PATH", "127.0.0.1:8080", option_listen, "Address of the HTTP service; port 0 takes a free one. unix:PATH beside it, or alone: a socket for this machine; may be repeated, or stand behind a comma."},
    {"listen-mode", "0600|0660|0666", "0600", option_listen_mode, "Who may connect to that socket: our user, our group, or everybody."},
    {"no-unix", NULL, NULL, option_no_unix, "Make no such socket; by default there is one in the data directory."},
    {"workers", "auto|N|0", "auto", option_workers, "Workers to start here; auto is one a GPU, or else one a core, at least 2."},
    {"world", "N", NULL, option_world, "Ranks in all, when workers of others will join too; default: the workers started here."},
    {"backend", "auto|shm|nccl|gloo", "auto", option_backend, "How ranks exchange bytes: nccl takes a GPU a rank, gloo goes over TCP; auto is nccl where there are GPUs, else shm."},
    {"overlap", NULL, NULL, option_overlap, "Let jobs of different streams run side by side on the same ranks."},
    {"data-dir", "DIR", NULL, option_data_dir, "Database and sockets; default: $XDG_STATE_HOME/tutti or ~/.local/state/tutti."},
    {"durable", NULL, NULL, option_durable, "Survive a loss of power: tensors on disk too, and everything flushed before it is acknowledged."},
    {"arena-dir", "DIR", NULL, option_arena_dir, "Tensor bytes, on tmpfs; default: a directory of its own in /dev/shm, or with --durable the data directory."},
    {"arena-size", "SIZE", NULL, option_arena_size, "Most tensor bytes at once, as 512M or 4G; default: 4G, or half of what is free."},
    {"resident-size", "SIZE", NULL, option_resident_size, "Most bytes of resident tensors on one GPU; default: half of its memory."},
    {"worker-listen", "unix:PATH|HOST:PORT", NULL, option_worker_listen, "Where workers connect; default: a socket in the data directory. HOST:PORT beside it: workers with a token; may be repeated."},
    {"lane", "PATH|off", NULL, option_lane, "Socket where clients of this machine get memory that they share with the ranks; default: lane.sock in the data directory."},
    {"lane-size", "SIZE", NULL, option_lane_size, "Most of that memory at once, beside the arena; 0 is off; default: half of the arena's size."},
    {"allowed-host", "NAME", NULL, option_allowed_host, "A further Host that requests may name; may be repeated."},
    {"allowed-origin", "ORIGIN", NULL, option_allowed_origin, "An Origin whose pages may call the service; may be repeated."},
    {"retain", "SECONDS", "3600", option_retain, "How long tensors are kept after their job ended, or after their upload."},
    {"log-level", "error|warn|info|debug", "info", option_log_level, "Least level that is logged."},
    {"log-format", "text|json", "text", option_log_format, "Form of a log line."},
    {"token-file", "FILE", NULL, option_token_file, "Who may come in: NAME ROLE SHA256 a line; read again on SIGHUP."},
    {"new-token", "NAME:ROLE", NULL, option_new_token, "Add a token to --token-file, print it, and exit; roles: read, user, admin, worker."},
    {"tls-cert", "FILE", NULL, option_tls_cert, "Serve HTTPS with this certificate (PEM, with its chain)."},
    {"tls-key", "FILE", NULL, option_tls_key, "And its key (PEM)."},
    {"insecure-no-auth", NULL, NULL, option_insecure, "Listen beyond this machine although nobody is asked who they are."},
    {"user", "NAME|UID:GID", NULL, option_user, "Whom to become, when started as root, once the port is taken."},
    {"health", NULL, NULL, option_health, "Ask the service that runs at --listen whether it answers, and exit: 0, or 1 with the reason."},
    {"print-tables", NULL, NULL, option_print_tables, "Print the tables of routes, parameters and codes, and exit."},
};
/* clang-format on */

#define ROWS (sizeof rows / sizeof rows[0])

/* "arena-size" -> "TUTTI_ARENA_SIZE". */
static const char *twin(const struct row *row, char buf[NAME_BYTES])
{
    int len = snprintf(buf, NAME_BYTES, "TUTTI_%s", row->name);

    for (int i = 0; i < len; i++)
        buf[i] = buf[i] == '-' ? '_' : (char)toupper((unsigned char)buf[i]);
    return buf;
}

static void help(void)
{
    puts("tutti-server: collective communication over HTTP.\n\n"
         "usage: tutti-server [option]...\n");
    for (const struct row *row = rows; row < rows + ROWS; row++) {
        char left[NAME_BYTES], env[NAME_BYTES];

        snprintf(left, sizeof left, "--%s%s%s", row->name, row->value ? " " : "",
                 row->value ? row->value : "");
        printf("  %-34s %s%s%s%s (%s)\n", left, row->sentence, row->preset ? " [" : "",
               row->preset ? row->preset : "", row->preset ? "]" : "", twin(row, env));
    }
    puts("  --version                          Print the version, and exit.\n"
         "  --help                             Print this, and exit.\n\n"
         "An option beats its environment variable, which stands in brackets.");
}

/* The row that arg names, and the text after its '=', if any. */
static const struct row *find_row(const char *arg, const char **attached)
{
    size_t len = strcspn(arg + 2, "=");

    *attached = arg[2 + len] == '=' ? arg + 2 + len + 1 : NULL;
    for (const struct row *row = rows; row < rows + ROWS; row++) {
        if (strlen(row->name) == len && memcmp(row->name, arg + 2, len) == 0)
            return row;
    }
    return NULL;
}

static int set(struct options *o, const struct row *row, const char *name, const char *text,
               struct err *e)
{
    if (row->set(o, text, e) != 0)
        return err_context(e, "%s", name);
    return 0;
}

static int read_argument(struct options *o, int argc, char *const argv[], int *i, bool *given,
                         struct err *e)
{
    const char *arg = argv[*i], *text;
    const struct row *row = strncmp(arg, "--", 2) == 0 ? find_row(arg, &text) : NULL;
    char name[NAME_BYTES];

    if (!row)
        return err_set(e, ERR_option, "there is no option \"%.60s\"; --help lists them", arg);
    snprintf(name, sizeof name, "--%s", row->name);
    if (!row->value && text)
        return err_set(e, ERR_option, "%s takes no value: write it alone", name);
    if (!row->value)
        text = "1";
    else if (!text && ++*i < argc)
        text = argv[*i];
    if (!text)
        return err_set(e, ERR_option, "%s wants a value: write %s %s", name, name, row->value);
    given[row - rows] = true;
    return set(o, row, name, text, e);
}

static int read_environment(struct options *o, const bool *given, struct err *e)
{
    for (size_t i = 0; i < ROWS; i++) {
        char name[NAME_BYTES];
        const char *text = given[i] ? NULL : getenv(twin(&rows[i], name));

        if (text && *text) { /* compose files leave unset variables empty */
            if (set(o, &rows[i], name, text, e) != 0)
                return -1;
        } else if (!given[i] && rows[i].preset && set(o, &rows[i], name, rows[i].preset, e) != 0) {
            return -1;
        }
    }
    return 0;
}

int options_read(struct options *o, int argc, char *const argv[], struct err *e)
{
    bool given[ROWS] = {false};

    *o = (struct options){.log_level = LOG_info};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            help();
            exit(0);
        }
        if (strcmp(argv[i], "--version") == 0) {
            puts("tutti-server " TUTTI_VERSION);
            exit(0);
        }
        if (read_argument(o, argc, argv, &i, given, e) != 0)
            return -1;
    }
    if (read_environment(o, given, e) != 0)
        return -1;
    return options_complete(o, e);
}
