/* memory.c - glibc keeps what was freed below a block that is still in use; malloc_trim gives whole
 * pages of it back. It takes the heap's locks for milliseconds, hence seldom, and only when it is
 * worth it. */
#include "server/memory.h"

#include "schema/clock.h"
#include "schema/limits.h"

#include <malloc.h>

void memory_trim(void)
{
    static uint64_t next_us;
    uint64_t now = clock_us();

    if (now < next_us)
        return;
    next_us = now + LIMIT_TRIM_S * 1000000ull;
    if (mallinfo2().fordblks > LIMIT_TRIM_BYTES)
        malloc_trim(0);
}
