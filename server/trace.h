/* trace.h - jobs, rank by rank, on one time axis: the Trace Event Format of Chrome, which Perfetto
 * opens. Pure; any thread.
 *
 * Source: "Trace Event Format",
 * docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
 *
 * A process "coordinator" shows every job from its request to its end, with its phases inside; a
 * process for each rank shows what its worker did. What overlaps within one of them stands on
 * threads of its own, because slices of one thread must nest. The coordinator's are bounded: where
 * more jobs wait at once, a further one is shown from the moment that it was sent to its ranks.
 */
#ifndef TUTTI_SERVER_TRACE_H
#define TUTTI_SERVER_TRACE_H

#include "schema/error.h"
#include "server/record.h"
#include "server/text.h"

#include <stdint.h>

/* The document. jobs: in any order, each once. now_us: wall time, at which the unfinished ones are
 * cut off. Microseconds count from the moment that the earliest was received, which the document
 * names. Returns 0, or -1 with ERR_parameter_range (more than LIMIT_TRACE_SLICES) or ERR_no_memory.
 */
int trace_write(struct text *out, struct job_record *const *jobs, uint32_t n, uint64_t now_us,
                struct err *e);

#endif
