/* proof.h - the worker's token, and proofs of it, for a link over TCP: see schema/handshake.h. */
#ifndef TUTTI_WORKER_PROOF_H
#define TUTTI_WORKER_PROOF_H

#include "schema/error.h"
#include "schema/handshake.h"

#include <stdbool.h>

struct token_key {
    char name[LIMIT_ACCOUNT_BYTES + 1];
    uint8_t key[HANDSHAKE_BYTES]; /* SHA-256 of the secret, which is not kept */
};

/* From a file that holds NAME.SECRET, and that nobody but its owner may read. Returns 0, or -1 with
 * ERR_option. */
int token_key_read(struct token_key *out, const char *path, struct err *e);

/* Completes AUTH: its name, a nonce, the proof, over the server's nonce and all that AUTH says by
 * then. Returns 0, or -1 with ERR_link. */
int auth_sign(struct frame *auth, const struct token_key *key, const uint8_t nonce[HANDSHAKE_BYTES],
              struct err *e);

/* Does this come from one who knows the secret, in answer to that AUTH? */
bool server_proves(const struct frame_proof *answer, const struct frame *auth,
                   const struct token_key *key, const uint8_t nonce[HANDSHAKE_BYTES]);

#endif
