/* error.c - set, add context, look up the columns of errors.def. */
#include "schema/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *title;
    int status;
} rows[ERR_COUNT] = {
    [ERR_none] = {"none", "No error", 200},
#define ERR(code, status, title) [ERR_##code] = {#code, title, status},
#include "schema/errors.def"
#undef ERR
};

/* Details go into logs, headers' neighbourhood and terminals: no control characters. */
static void scrub(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
}

/* A cut in the middle of a UTF-8 sequence would make the problem document invalid: drop what is
 * left of a sequence that the end of a full buffer has cut. */
static void trim_utf8(char *text, size_t cap)
{
    size_t len = strlen(text), back = 1;
    unsigned char lead;

    if (len + 1 < cap)
        return;
    while (back < 4 && back < len && ((unsigned char)text[len - back] & 0xc0) == 0x80)
        back++;
    lead = (unsigned char)text[len - back];
    if (lead >= 0xc0 && back < (lead >= 0xf0 ? 4u : lead >= 0xe0 ? 3u : 2u))
        text[len - back] = '\0';
}

static void set(struct err *e, enum err_code code, const char *fmt, va_list args)
{
    e->code = code;
    e->pointer[0] = '\0';
    e->n_ranks = 0;
    e->asked_bytes = e->free_bytes = 0;
    vsnprintf(e->detail, sizeof e->detail, fmt, args);
    trim_utf8(e->detail, sizeof e->detail);
    scrub(e->detail);
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list args;

    if (!e)
        return -1;
    va_start(args, fmt);
    set(e, code, fmt, args);
    va_end(args);
    return -1;
}

int err_sys(struct err *e, enum err_code code, int errno_value, const char *fmt, ...)
{
    va_list args;
    char reason[128];
    size_t len;

    if (!e)
        return -1;
    va_start(args, fmt);
    set(e, code, fmt, args);
    va_end(args);
    len = strlen(e->detail);
    snprintf(e->detail + len, sizeof e->detail - len, ": %s",
             strerror_r(errno_value, reason, sizeof reason));
    return -1;
}

int err_context(struct err *e, const char *fmt, ...)
{
    va_list args;
    char text[2 * sizeof e->detail];
    size_t len;

    if (!e)
        return -1;
    va_start(args, fmt);
    vsnprintf(text, sizeof e->detail, fmt, args);
    va_end(args);
    len = strlen(text);
    snprintf(text + len, sizeof text - len, ": %s", e->detail);
    text[sizeof e->detail - 1] = '\0';
    memcpy(e->detail, text, sizeof e->detail);
    trim_utf8(e->detail, sizeof e->detail);
    scrub(e->detail);
    return -1;
}

int err_pointer(struct err *e, const char *fmt, ...)
{
    va_list args;

    if (!e)
        return -1;
    va_start(args, fmt);
    vsnprintf(e->pointer, sizeof e->pointer, fmt, args);
    va_end(args);
    trim_utf8(e->pointer, sizeof e->pointer);
    scrub(e->pointer);
    return -1;
}

int err_rank(struct err *e, uint32_t rank)
{
    if (e && e->n_ranks < ERR_RANKS)
        e->ranks[e->n_ranks++] = rank;
    return -1;
}

const char *err_name(enum err_code code)
{
    return code < ERR_COUNT ? rows[code].name : "internal";
}

int err_status(enum err_code code)
{
    return code < ERR_COUNT ? rows[code].status : 500;
}

const char *err_title(enum err_code code)
{
    return code < ERR_COUNT ? rows[code].title : rows[ERR_internal].title;
}

enum err_code err_find(const char *name)
{
    for (int i = 0; i < ERR_COUNT; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (enum err_code)i;
    return ERR_internal;
}
