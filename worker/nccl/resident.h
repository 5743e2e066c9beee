/* resident.h - the tensors that live on a device: found by the server's number for them. Main
 * thread. */
#ifndef TUTTI_WORKER_NCCL_RESIDENT_H
#define TUTTI_WORKER_NCCL_RESIDENT_H

#include "worker/backend.h"

/* Where it lies; NULL: it is not there, or not of so many bytes. */
uint8_t *resident_find(struct device *d, uint64_t id, uint64_t bytes);

/* Room for a new one. Returns 0, or -1 with ERR_worker_failed, ERR_no_memory. */
int resident_make(struct device *d, uint64_t id, uint64_t bytes, uint8_t **out, struct err *e);

/* As backend.h has them. A dropped one's memory is freed by resident_sweep, when nothing runs:
 * freeing waits for the whole device. */
int resident_fetch(struct device *d, uint64_t id, uint8_t *to, uint64_t bytes, struct err *e);
void resident_drop(struct device *d, uint64_t id);

void resident_sweep(struct device *d);
void resident_close(struct device *d);

#endif
