/* options_values.c - texts of options as values, each refused with a sentence that says what to
 * write. */
#include "server/options_values.h"
#include "schema/limits.h"
#include "server/size.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETAIN_MAX_S (10ull * 365 * 86400)

/* Digits only, at most max. */
static int read_number(const char *text, uint64_t max, uint64_t *out, struct err *e)
{
    char *end;

    errno = 0;
    if (*text >= '0' && *text <= '9') {
        *out = strtoull(text, &end, 10);
        if (*end == '\0' && errno == 0 && *out <= max)
            return 0;
    }
    return err_set(e, ERR_option, "\"%.60s\" is not a number from 0 to %llu", text,
                   (unsigned long long)max);
}

static int copy_text(char *to, size_t size, const char *text, struct err *e)
{
    size_t len = strlen(text);

    if (len == 0 || len >= size)
        return err_set(e, ERR_option, "a text of 1 to %zu bytes is wanted", size - 1);
    memcpy(to, text, len + 1);
    return 0;
}

/* "HOST:PORT", "[::1]:PORT": the last colon divides, and an address with colons stands in brackets.
 */
static int read_address(char *to, size_t size, uint16_t *to_port, const char *text, struct err *e)
{
    const char *colon = strrchr(text, ':'), *host = text;
    size_t len = colon ? (size_t)(colon - text) : 0;
    uint64_t port;

    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        host++;
        len -= 2;
    } else if (len > 0 && memchr(text, ':', len)) {
        return err_set(e, ERR_option, "\"%.60s\": write an IPv6 address as [::1]:8080", text);
    }
    if (len == 0 || len >= size)
        return err_set(e, ERR_option, "\"%.60s\": write HOST:PORT, as 127.0.0.1:8080", text);
    if (read_number(colon + 1, UINT16_MAX, &port, e) != 0)
        return err_context(e, "the port");
    memcpy(to, host, len);
    to[len] = '\0';
    *to_port = (uint16_t)port;
    return 0;
}

static int read_listen(struct options *o, const char *text, struct err *e)
{
    if (strncmp(text, "unix:", 5) != 0)
        return read_address(o->listen_host, sizeof o->listen_host, &o->listen_port, text, e);
    if (text[5] == '\0')
        return err_set(e, ERR_option, "\"%.60s\": write unix:PATH", text);
    o->listen_path_given = true;
    return copy_text(o->listen_path, sizeof o->listen_path, text + 5, e);
}

int option_listen(struct options *o, const char *text, struct err *e)
{
    char one[sizeof o->listen_path];

    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");

        if (len >= sizeof one)
            return err_set(e, ERR_option, "\"%.60s\" is too long", at);
        memcpy(one, at, len);
        one[len] = '\0';
        if (read_listen(o, one, e) != 0)
            return -1;
        at += len;
        if (*at == '\0')
            return 0;
    }
}

int option_listen_mode(struct options *o, const char *text, struct err *e)
{
    static const char *const known[] = {"0600", "0660", "0666"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(text, known[i]) == 0) {
            o->listen_mode = (uint32_t)strtoul(text, NULL, 8);
            return 0;
        }
    }
    return err_set(e, ERR_option, "\"%.60s\": write 0600, 0660 or 0666", text);
}

int option_workers(struct options *o, const char *text, struct err *e)
{
    uint64_t n;

    if (strcmp(text, "auto") == 0) {
        o->workers = OPTION_AUTO;
        return 0;
    }
    if (read_number(text, LIMIT_RANKS, &n, e) != 0)
        return err_context(e, "auto, or");
    o->workers = (uint32_t)n;
    return 0;
}

int option_world(struct options *o, const char *text, struct err *e)
{
    uint64_t n;

    if (read_number(text, LIMIT_RANKS, &n, e) != 0)
        return -1;
    if (n == 0)
        return err_set(e, ERR_option, "a world has at least one rank");
    o->world = (uint32_t)n;
    return 0;
}

int option_backend(struct options *o, const char *text, struct err *e)
{
    static const char *const known[] = {"auto", "shm", "nccl", "gloo"};
    size_t i = 0, n = sizeof known / sizeof known[0];

    while (i < n && strcmp(text, known[i]) != 0)
        i++;
    if (i == n)
        return err_set(e, ERR_option,
                       "there is no backend \"%.60s\": write shm, nccl, gloo or auto", text);
    return copy_text(o->backend, sizeof o->backend, text, e);
}

int option_data_dir(struct options *o, const char *text, struct err *e)
{
    return copy_text(o->data_dir, sizeof o->data_dir, text, e);
}

int option_arena_dir(struct options *o, const char *text, struct err *e)
{
    return copy_text(o->arena_dir, sizeof o->arena_dir, text, e);
}

static int read_size(uint64_t *out, const char *text, struct err *e)
{
    if (size_read(out, text, e) != 0)
        return -1;
    if (*out < LIMIT_ARENA_MIN_BYTES)
        return err_set(e, ERR_option, "%llu bytes are too few: the least is 1M",
                       (unsigned long long)*out);
    return 0;
}

int option_arena_size(struct options *o, const char *text, struct err *e)
{
    return read_size(&o->arena_size_bytes, text, e);
}

int option_resident_size(struct options *o, const char *text, struct err *e)
{
    return read_size(&o->resident_bytes, text, e);
}

int option_lane(struct options *o, const char *text, struct err *e)
{
    o->no_lane = strcmp(text, "off") == 0;
    o->lane[0] = '\0';
    return o->no_lane ? 0 : copy_text(o->lane, sizeof o->lane, text, e);
}

int option_lane_size(struct options *o, const char *text, struct err *e)
{
    o->no_lane |= strcmp(text, "0") == 0;
    return o->no_lane ? 0 : read_size(&o->lane_size_bytes, text, e);
}

int option_worker_listen(struct options *o, const char *text, struct err *e)
{
    if (strncmp(text, "unix:", 5) != 0)
        return read_address(o->worker_host, sizeof o->worker_host, &o->worker_port, text, e);
    if (text[5] == '\0')
        return err_set(e, ERR_option, "\"%.60s\": write unix:PATH", text);
    return copy_text(o->worker_listen, sizeof o->worker_listen, text, e);
}

int option_token_file(struct options *o, const char *text, struct err *e)
{
    return copy_text(o->token_file, sizeof o->token_file, text, e);
}

int option_new_token(struct options *o, const char *text, struct err *e)
{
    return copy_text(o->new_token, sizeof o->new_token, text, e);
}

int option_tls_cert(struct options *o, const char *text, struct err *e)
{
    return copy_text(o->tls_cert, sizeof o->tls_cert, text, e);
}

int option_tls_key(struct options *o, const char *text, struct err *e)
{
    return copy_text(o->tls_key, sizeof o->tls_key, text, e);
}

/* Repeated options make one list. */
static int add_item(char *list, size_t size, const char *text, struct err *e)
{
    size_t len = strlen(list);

    if (*text == '\0' || len + 1 + strlen(text) >= size)
        return err_set(e, ERR_option, "a list of 1 to %zu bytes is wanted", size - 2);
    snprintf(list + len, size - len, "%s%s", len ? "," : "", text);
    return 0;
}

int option_allowed_host(struct options *o, const char *text, struct err *e)
{
    return add_item(o->allowed_hosts, sizeof o->allowed_hosts, text, e);
}

int option_allowed_origin(struct options *o, const char *text, struct err *e)
{
    return add_item(o->allowed_origins, sizeof o->allowed_origins, text, e);
}

int option_retain(struct options *o, const char *text, struct err *e)
{
    uint64_t seconds;

    if (read_number(text, RETAIN_MAX_S, &seconds, e) != 0)
        return -1;
    o->retain_us = seconds * 1000000;
    return 0;
}

int option_log_level(struct options *o, const char *text, struct err *e)
{
    if (log_level_find(text, &o->log_level) != 0)
        return err_set(e, ERR_option, "\"%.60s\": write error, warn, info or debug", text);
    return 0;
}

int option_log_format(struct options *o, const char *text, struct err *e)
{
    if (strcmp(text, "json") != 0 && strcmp(text, "text") != 0)
        return err_set(e, ERR_option, "\"%.60s\": write text or json", text);
    o->log_json = strcmp(text, "json") == 0;
    return 0;
}

/* A switch's environment twin says 1 or 0. */
static int read_switch(bool *out, const char *text, struct err *e)
{
    if (strcmp(text, "1") != 0 && strcmp(text, "0") != 0)
        return err_set(e, ERR_option, "\"%.60s\": write 1 or 0", text);
    *out = strcmp(text, "1") == 0;
    return 0;
}

int option_no_unix(struct options *o, const char *text, struct err *e)
{
    return read_switch(&o->no_unix, text, e);
}

int option_insecure(struct options *o, const char *text, struct err *e)
{
    return read_switch(&o->insecure_no_auth, text, e);
}

int option_health(struct options *o, const char *text, struct err *e)
{
    return read_switch(&o->health, text, e);
}

int option_print_tables(struct options *o, const char *text, struct err *e)
{
    return read_switch(&o->print_tables, text, e);
}

int option_overlap(struct options *o, const char *text, struct err *e)
{
    return read_switch(&o->overlap, text, e);
}

int option_durable(struct options *o, const char *text, struct err *e)
{
    return read_switch(&o->durable, text, e);
}

int option_user(struct options *o, const char *text, struct err *e)
{
    return user_find(&o->user, text, e);
}
