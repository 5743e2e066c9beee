/* memory.h - gives back to the system what a flood of requests has left free. */
#ifndef TUTTI_SERVER_MEMORY_H
#define TUTTI_SERVER_MEMORY_H

/* Now and then, from a thread that nobody waits for: looks every LIMIT_TRIM_S seconds, and trims
 * when more than LIMIT_TRIM_BYTES are free in the heap. One thread. */
void memory_trim(void);

#endif
