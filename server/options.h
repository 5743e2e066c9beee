/* options.h - one row per option: name, environment twin, default, range, sentence. Main thread. */
#ifndef TUTTI_SERVER_OPTIONS_H
#define TUTTI_SERVER_OPTIONS_H

#include "schema/error.h"
#include "schema/log.h"
#include "server/user.h"

#include <stdbool.h>
#include <stdint.h>

struct options {
    char listen_host[256]; /* "": no port, the Unix socket alone */
    uint16_t listen_port;
    char listen_path[4096]; /* of the Unix socket; "": none */
    bool listen_path_given; /* and not where it lies by default */
    uint32_t listen_mode;   /* of that socket: 0600, 0660, 0666 */
    bool no_unix;           /* no such socket */
    uint32_t workers;       /* to launch */
    uint32_t world;         /* ranks; defaults to workers */
    char backend[16];       /* "shm" or "nccl" */
    bool gpus;              /* each worker started here has one */
    char data_dir[4096];
    char arena_dir[4096];
    uint64_t arena_size_bytes;
    char worker_listen[4096]; /* "unix:PATH" */
    char worker_host[256];    /* and over TCP, for workers with a token; "": not */
    uint16_t worker_port;
    char lane[4096]; /* the path of the lane's socket; "": there is none */
    bool no_lane;
    uint64_t lane_size_bytes; /* of its regions together */
    char allowed_hosts[1024], allowed_origins[1024];
    uint64_t retain_us;
    enum log_level log_level;
    bool log_json;
    uint64_t resident_bytes; /* most of resident tensors on one GPU; 0: half of its memory */
    bool durable;            /* what was acknowledged survives a loss of power */
    bool overlap;            /* jobs of different streams may run side by side on a rank */
    char token_file[4096];   /* "": nobody is asked who they are, or by a token of this process */
    char new_token[64];      /* "NAME:ROLE" to make one for; "": serve */
    char tls_cert[4096], tls_key[4096]; /* PEM; both or none */
    bool own_token;        /* make one for this process and show it: no file, and started by hand */
    bool insecure_no_auth; /* listen beyond loopback although nobody is asked who they are */
    bool health;           /* ask a server that runs; serve nothing */
    bool print_tables;
    struct user user; /* to become, once root is not needed any more */
};

/* argv, then TUTTI_* for what argv does not say, then defaults. --help and --version print and exit
 * 0. Returns 0, or -1 with ERR_option: a sentence that says what to write instead. */
int options_read(struct options *o, int argc, char *const argv[], struct err *e);

/* Where this machine itself reaches what listens on host: host, or for a wildcard the loopback. Any
 * thread. */
const char *options_reach(const char *host);

#endif
