/* announce.c - which ranks are awaited, where it listens, whether it answers, and tokens that were
 * made: the one time that their secrets are seen. */
#include "server/announce.h"

#include "schema/clock.h"
#include "schema/log.h"
#include "server/health.h"
#include "server/rank_list.h"
#include "server/tokens.h"
#include "server/workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_US 1000000 /* what is started with the server is there by then */
#define SELDOM_US 60000000
#define RANKS_TEXT 120

/* ---- who is awaited ---- */

/* Those that are missing among the ranks from .. below. */
struct awaited {
    const struct worker_info *worker;
    uint32_t from, below;
};

static bool is_missing(const void *arg, uint32_t rank)
{
    const struct awaited *a = arg;
    enum worker_state state = a->worker[rank].state;

    return rank >= a->from && rank < a->below && state != WORKER_ready && state != WORKER_busy;
}

/* Below o->workers they are the server's own to start; the others are a person's. */
static void say_missing(const struct options *o)
{
    struct worker_info *worker = calloc(o->world, sizeof *worker);
    struct awaited all = {worker, 0, o->world}, others = {worker, o->workers, o->world};
    char text[RANKS_TEXT], theirs[RANKS_TEXT];
    const char *many;

    if (!worker)
        return;
    workers_list(worker);
    rank_list(text, sizeof text, o->world, is_missing, &all);
    rank_list(theirs, sizeof theirs, o->world, is_missing, &others);
    free(worker);
    if (!text[0]) /* the last has come meanwhile */
        return;
    many = strpbrk(text, ",-.") ? "s" : "";
    if (!theirs[0])
        log_info("waiting for rank%s %s of %u, started here", many, text, o->world);
    else
        log_info("waiting for rank%s %s of %u: for each%s%s start tutti-worker --server %s%s", many,
                 text, o->world, strcmp(text, theirs) == 0 ? "" : " of ",
                 strcmp(text, theirs) == 0 ? "" : theirs, o->worker_listen,
                 o->worker_host[0] ? ", or one on another host with its --token-file" : "");
}

bool announce_world(const struct options *o)
{
    static uint64_t next_us, pause_us = FIRST_US;

    if (workers_ready_count() == o->world) {
        log_info("the world is complete: all %u ranks are there", o->world);
        return true;
    }
    if (next_us != 0 && clock_us() < next_us)
        return false;
    if (next_us != 0) {
        say_missing(o);
        pause_us = pause_us < SELDOM_US / 2 ? 2 * pause_us : SELDOM_US;
    }
    next_us = clock_us() + pause_us;
    return false;
}

/* ---- where it is ---- */

void announce(const struct options *o, uint16_t port, const char *own_token)
{
    const char *host = options_reach(o->listen_host);
    bool v6 = strchr(host, ':') != NULL;
    char url[sizeof o->listen_path + 32];

    if (!host[0])
        snprintf(url, sizeof url, "unix:%s", o->listen_path);
    else
        snprintf(url, sizeof url, "http%s://%s%s%s:%u", o->tls_cert[0] ? "s" : "", v6 ? "[" : "",
                 host, v6 ? "]" : "", port);
    printf("listening on %s\n", url);
    if (host != o->listen_host) /* no program can connect to a wildcard */
        printf("(on all addresses of this machine: from another one, write one of them instead of "
               "%s)\n",
               host);
    if (own_token[0] && host[0]) /* in the fragment: no browser sends it, no proxy logs it */
        printf("open %s/#token=%s\nor ", url, own_token);
    if (own_token[0])
        printf("send the header Authorization: Bearer %s\n"
               "(a token of this process; make lasting ones with --token-file FILE --new-token "
               "NAME:ROLE)\n",
               own_token);
    fflush(stdout);
}

/* ---- what is no service ---- */

int announce_new_token(const struct options *o)
{
    char text[TOKEN_TEXT_BYTES];
    struct err e;

    if (tokens_add(o->token_file, o->new_token, text, &e) != 0) {
        fprintf(stderr, "tutti-server: --new-token: %s\n", e.detail);
        return 1;
    }
    puts(text);
    return 0;
}

int announce_health(const struct options *o)
{
    struct err e;

    if (health_ask(options_reach(o->listen_host), o->listen_port, o->listen_path,
                   o->tls_cert[0] != '\0', &e) == 0)
        return 0;
    fprintf(stderr, "tutti-server: %s\n", e.detail);
    return 1;
}
