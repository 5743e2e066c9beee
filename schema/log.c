/* log.c - one line format for both programs. */
#include "schema/log.h"
#include "schema/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    char program[32];
    enum log_level level;
    bool json;
} log_state = {.program = "tutti", .level = LOG_info};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_init(const char *program, enum log_level level, bool json)
{
    snprintf(log_state.program, sizeof log_state.program, "%s", program);
    log_state.level = level;
    log_state.json = json;
}

int log_level_find(const char *name, enum log_level *out)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(level_names[i], name) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

bool log_wants(enum log_level level)
{
    return level <= log_state.level;
}

/* Appends text so that it cannot end a line or a JSON string early. */
static size_t append(char *line, size_t at, size_t cap, const char *text)
{
    for (; *text && at + 7 < cap; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f)
            c = '?';
        if (log_state.json && (c == '"' || c == '\\'))
            line[at++] = '\\';
        line[at++] = (char)c;
    }
    return at;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char line[1024], message[900], now[CLOCK_TEXT];
    size_t at;
    va_list args;
    int saved = errno;

    if (!log_wants(level))
        return;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    clock_format(clock_wall_us(), now);
    at = (size_t)snprintf(
        line, sizeof line,
        log_state.json ? "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"message\":\""
                       : "%s %s %s ",
        now, level_names[level], log_state.program);
    at = append(line, at, sizeof line - 4, message);
    memcpy(line + at, log_state.json ? "\"}\n" : "\n", log_state.json ? 3 : 1);
    at += log_state.json ? 3 : 1;
    if (write(STDERR_FILENO, line, at) < 0) {
        /* Nobody reads stderr: the program goes on. */
    }
    errno = saved;
}
