/* log.h - one line format on stderr for both programs, so that one grep follows a job.
 *
 *   2026-11-24T00:15:02.123456Z info server job=j_01... from=queued to=running
 *
 * or, as JSON, one object a line: time, level, program, message. A line is one write(2), at most
 * 1,024 bytes, control characters replaced. Safe from any thread; log_init before threads start.
 */
#ifndef TUTTI_SCHEMA_LOG_H
#define TUTTI_SCHEMA_LOG_H

#include <stdbool.h>

enum log_level { LOG_error, LOG_warn, LOG_info, LOG_debug };

/* program: static text, "server" or "worker 3". */
void log_init(const char *program, enum log_level level, bool json);

/* The level called name. Returns 0 or -1. */
int log_level_find(const char *name, enum log_level *out);

bool log_wants(enum log_level level);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_error, __VA_ARGS__)
#define log_warn(...) log_line(LOG_warn, __VA_ARGS__)
#define log_info(...) log_line(LOG_info, __VA_ARGS__)
#define log_debug(...) (log_wants(LOG_debug) ? log_line(LOG_debug, __VA_ARGS__) : (void)0)

#endif
