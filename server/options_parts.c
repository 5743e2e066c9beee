/* options_parts.c - options as those of each part. */
#include "server/options_parts.h"

#include <string.h>
#include <unistd.h>

static uint32_t http_threads(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 2 ? 2 : cores > 8 ? 8 : (uint32_t)cores;
}

struct http_options options_http(const struct options *o)
{
    return (struct http_options){.host = o->listen_host,
                                 .port = o->listen_port,
                                 .path = o->listen_path,
                                 .path_mode = o->listen_mode,
                                 .path_wanted = o->listen_path_given,
                                 .path_anybody = o->insecure_no_auth,
                                 .threads = http_threads(),
                                 .tls_cert = o->tls_cert,
                                 .tls_key = o->tls_key};
}

struct sandbox_options options_sandbox(const struct options *o)
{
    return (struct sandbox_options){
        .data_dir = o->data_dir,
        .arena_dir = o->arena_dir,
        .worker_listen = o->worker_listen,
        .lane = o->lane,
        .worker_tcp = o->worker_host[0] != '\0',
        .http_path = o->listen_path,
        .token_file = o->token_file,
        .launches = o->workers > 0,
        .workers_dial = o->workers > 0 && (o->worker_host[0] || strcmp(o->backend, "gloo") == 0),
        .gpus = strcmp(o->backend, "nccl") == 0};
}
