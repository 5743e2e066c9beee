/* carrier.h - the data channel of a host without the server's arena: one worker of the host carries
 * the tensors of all, on a second connection, with a thread of its own. See schema/chunk.h. */
#ifndef TUTTI_WORKER_CARRIER_H
#define TUTTI_WORKER_CARRIER_H

#include "schema/error.h"
#include "worker/proof.h"

#include <stdint.h>

/* Starts the thread, which waits for carrier_carry. Main thread, after arena_own_open and before
 * the sandbox; key stays the caller's. Returns 0 or -1. */
int carrier_start(const struct token_key *key, uint64_t epoch, struct err *e);

/* The server wants us to carry: connects, and again whenever the connection ends. Main thread. */
void carrier_carry(void);

/* Nothing is written any more when this returns. Main thread, at the end; without a start, nothing
 * happens. */
void carrier_stop(void);

/* Answers what comes on this socket until it ends; e says why. For the thread, and for tests. */
void carrier_serve(int fd, struct err *e);

#endif
