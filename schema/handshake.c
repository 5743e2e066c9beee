/* handshake.c - direction, the server's nonce, and AUTH as it is on the wire, but for the proof. */
#include "schema/handshake.h"

#include <string.h>

/* Of one length, so that no text of one direction can be a text of the other. */
static const char context[2][32] = {
    [HANDSHAKE_BY_WORKER] = "tutti link 1, worker to server.",
    [HANDSHAKE_BY_SERVER] = "tutti link 1, server to worker.",
};

size_t handshake_text(enum handshake_by by, const uint8_t nonce[HANDSHAKE_BYTES],
                      const struct frame *f, uint8_t out[HANDSHAKE_TEXT_BYTES])
{
    static struct frame bare; /* large */
    size_t at = sizeof context[0] + HANDSHAKE_BYTES, len;

    memcpy(out, context[by], sizeof context[by]);
    memcpy(out + sizeof context[by], nonce, HANDSHAKE_BYTES);
    bare.type = FRAME_auth;
    bare.auth = f->auth;
    bare.auth.n_proof = 0;
    len = frame_encode(&bare, out + at, LIMIT_AUTH_BYTES);
    return len ? at + len : 0;
}
