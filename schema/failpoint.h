/* failpoint.h - named places where a fault test may stop, slow or fail either program.
 *
 * The names are an agreement between the programs and tests/fault. TUTTI_FAILPOINTS in the
 * environment is a comma-separated list of
 *
 *   name=kill[@n]        SIGKILL to itself at the n-th passage (default 1)
 *   name=sleep:MS[@n]    sleeps at the n-th passage; at every one without @n
 *   name=spin:MS[@n]     the same, but keeps a core busy
 *   name=err:ERRNO[@n]   failpoint() returns that errno number there
 *
 * "name/all_gather" is only passed where the work is of that operation (failpoint_of), and "1:name"
 * only in the worker of rank 1.
 *
 * Without the variable a failpoint is one predictable branch. Safe from any thread; read once.
 */
#ifndef TUTTI_SCHEMA_FAILPOINT_H
#define TUTTI_SCHEMA_FAILPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern bool failpoints_on;

int failpoint_hit(const char *name, const char *of);

/* Reads the environment. Call once, before threads. */
void failpoint_init(void);

/* This process is the worker of that rank. Before threads. */
void failpoint_rank(uint32_t rank);

/* 0, or the errno to fail with. */
static inline int failpoint(const char *name)
{
    return __builtin_expect(failpoints_on, 0) ? failpoint_hit(name, NULL) : 0;
}

/* Also where it was named for this operation alone. */
static inline int failpoint_of(const char *name, const char *of)
{
    return __builtin_expect(failpoints_on, 0) ? failpoint_hit(name, of) : 0;
}

#endif
