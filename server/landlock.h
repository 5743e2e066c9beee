/* landlock.h - this process, and what it starts, may use the files of a few places alone.
 *
 * A door to the kernel's Landlock, whose headers and versions stay behind it.
 */
#ifndef TUTTI_SERVER_LANDLOCK_H
#define TUTTI_SERVER_LANDLOCK_H

#include "schema/error.h"

#include <stdbool.h>
#include <stddef.h>

enum landlock_use { LANDLOCK_READS, LANDLOCK_WRITES }; /* writing: and reading, and sockets */

struct landlock_place {
    const char *path; /* with all below it; one that is not there is passed over */
    enum landlock_use use;
};

struct landlock_rules {
    const struct landlock_place *places;
    size_t n;
    bool reads;    /* reading and executing are limited as writing is */
    bool binds;    /* ports may still be opened */
    bool connects; /* and connections made */
};

/* For this thread and those that it starts, for good; files that are open stay so. What the kernel
 * knows of it is used. Returns its version of Landlock, or -1 with ERR_internal: it has none. */
int landlock_confine(const struct landlock_rules *r, struct err *e);

#endif
