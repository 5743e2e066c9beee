/* proof.h - nonces, and proofs that somebody knows a secret, for the worker link over TCP. */
#ifndef TUTTI_SERVER_PROOF_H
#define TUTTI_SERVER_PROOF_H

#include "schema/error.h"
#include "schema/handshake.h"

#include <stdbool.h>

/* Returns 0, or -1 with ERR_internal: then nobody can be asked. */
int proof_nonce(uint8_t out[HANDSHAKE_BYTES], struct err *e);

/* Does AUTH prove, to him who asked with this nonce, that its sender has a worker token? If so,
 * answer is the proof that we know it too. It takes the same time for a name that is unknown. */
bool proof_check(const struct frame *auth, const uint8_t nonce[HANDSHAKE_BYTES],
                 uint8_t answer[HANDSHAKE_BYTES]);

#endif
