/* handshake.h - what the two ends of the worker link sign, where it runs over TCP.
 *
 * The server sends CHALLENGE with a nonce; the worker answers AUTH with a nonce of its own, its
 * HELLO and a proof; the server answers PROOF. A proof is HMAC-SHA256, keyed by the SHA-256 of the
 * token's secret (what the server has), over a text that names the direction and holds both nonces
 * and all of AUTH: so the secret is never sent, nothing can be altered, no proof is worth anything
 * a second time or in the other direction. What follows on the connection is not encrypted.
 *
 * One thread of a process at a time.
 */
#ifndef TUTTI_SCHEMA_HANDSHAKE_H
#define TUTTI_SCHEMA_HANDSHAKE_H

#include "schema/frame.h"

enum handshake_by { HANDSHAKE_BY_WORKER, HANDSHAKE_BY_SERVER }; /* whose proof */

#define HANDSHAKE_TEXT_BYTES (LIMIT_AUTH_BYTES + 128)

/* The text that a proof signs. f is the AUTH frame (its proof does not count), nonce the server's.
 * Returns its length, at most HANDSHAKE_TEXT_BYTES, or 0 when the frame cannot be encoded. */
size_t handshake_text(enum handshake_by by, const uint8_t nonce[HANDSHAKE_BYTES],
                      const struct frame *f, uint8_t out[HANDSHAKE_TEXT_BYTES]);

#endif
