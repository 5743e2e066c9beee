/* vitals.h - what the kernel says of this process. Any thread. */
#ifndef TUTTI_SERVER_VITALS_H
#define TUTTI_SERVER_VITALS_H

#include <stdint.h>

struct vitals {
    double cpu_seconds;
    double started_seconds; /* since 1970 */
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_fds, max_fds;
    uint64_t threads;
};

/* What cannot be read is 0. */
void vitals_read(struct vitals *out);

#endif
