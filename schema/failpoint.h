/* failpoint.h - named places where a fault test may stop, slow or fail either program.
 *
 * The names are an agreement between the programs and tests/fault. TUTTI_FAILPOINTS in the
 * environment is a comma-separated list of
 *
 *   name=kill[@n]        SIGKILL to itself at the n-th passage (default 1)
 *   name=sleep:MS[@n]    sleeps at the n-th passage; at every one without @n
 *   name=err:ERRNO[@n]   failpoint() returns that errno number there
 *
 * Without the variable a failpoint is one predictable branch. Safe from any thread; read once.
 */
#ifndef TUTTI_SCHEMA_FAILPOINT_H
#define TUTTI_SCHEMA_FAILPOINT_H

#include <stdbool.h>

extern bool failpoints_on;

int failpoint_hit(const char *name);

/* Reads the environment. Call once, before threads. */
void failpoint_init(void);

/* 0, or the errno to fail with. */
static inline int failpoint(const char *name)
{
    return __builtin_expect(failpoints_on, 0) ? failpoint_hit(name) : 0;
}

#endif
