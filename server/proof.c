/* proof.c - HMAC-SHA256 over what handshake.h says, with the keys of the token file. */
#include "server/proof.h"
#include "server/tokens.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#define KEYS_MAX 8 /* worker tokens of one name */

int proof_nonce(uint8_t out[HANDSHAKE_BYTES], struct err *e)
{
    if (gnutls_rnd(GNUTLS_RND_NONCE, out, HANDSHAKE_BYTES) != 0)
        return err_set(e, ERR_internal, "no random numbers are to be had");
    return 0;
}

static bool sign(enum handshake_by by, const uint8_t key[TOKEN_HASH_BYTES],
                 const struct frame *auth, const uint8_t nonce[HANDSHAKE_BYTES],
                 uint8_t out[HANDSHAKE_BYTES])
{
    uint8_t text[HANDSHAKE_TEXT_BYTES];
    size_t len = handshake_text(by, nonce, auth, text);

    return len > 0 &&
           gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, TOKEN_HASH_BYTES, text, len, out) == 0;
}

bool proof_check(const struct frame *auth, const uint8_t nonce[HANDSHAKE_BYTES],
                 uint8_t answer[HANDSHAKE_BYTES])
{
    const struct frame_auth *a = &auth->auth;
    uint8_t keys[KEYS_MAX][TOKEN_HASH_BYTES], expected[HANDSHAKE_BYTES];
    uint32_t n = tokens_worker_keys(a->name, keys, KEYS_MAX);
    bool known = n > 0, right = false;

    if (a->n_nonce != HANDSHAKE_BYTES || a->n_proof != HANDSHAKE_BYTES)
        return false;
    if (!known) { /* a key that nobody has */
        if (gnutls_rnd(GNUTLS_RND_NONCE, keys[0], TOKEN_HASH_BYTES) != 0)
            return false;
        n = 1;
    }
    for (uint32_t i = 0; i < n && !right; i++) {
        right = sign(HANDSHAKE_BY_WORKER, keys[i], auth, nonce, expected) &&
                gnutls_memcmp(expected, a->proof, HANDSHAKE_BYTES) == 0 && known &&
                sign(HANDSHAKE_BY_SERVER, keys[i], auth, nonce, answer);
    }
    gnutls_memset(keys, 0, sizeof keys);
    return right;
}
