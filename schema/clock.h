/* clock.h - the one time base of both programs. Safe from any thread. */
#ifndef TUTTI_SCHEMA_CLOCK_H
#define TUTTI_SCHEMA_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_us(void);      /* CLOCK_MONOTONIC: deadlines, durations */
uint64_t clock_ns(void);      /* the same in nanoseconds */
uint64_t clock_wall_us(void); /* CLOCK_REALTIME since 1970: what people read */

/* "2026-11-24T00:15:02.123456Z" (RFC 3339, UTC); returns buf. */
#define CLOCK_TEXT 28
const char *clock_format(uint64_t wall_us, char buf[CLOCK_TEXT]);

#endif
