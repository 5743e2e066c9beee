/* steady.h - wall time that never jumps: by it tensors and records are removed.
 *
 * When somebody sets the wall clock, this one moves at double or half speed until the two agree
 * again, so that a clock a day ahead does not remove everything at once.
 */
#ifndef TUTTI_SERVER_STEADY_H
#define TUTTI_SERVER_STEADY_H

#include <stdint.h>

/* (core, or before it starts) Begins with what the wall clock says; stop: from then on it is the
 * wall clock. */
void steady_start(void);
void steady_stop(void);

/* (core) What time it is, microseconds since 1970. Looks at the wall clock: call it regularly. */
uint64_t steady_now_us(void);

/* (any thread) When to remove what began at wall_us, by the wall clock and a moment ago, and is
 * kept for keep_us; UINT64_MAX: never. While the clocks disagree by more than a second, so does
 * this moment from the sum of the two. */
uint64_t steady_due_us(uint64_t wall_us, uint64_t keep_us);

#endif
