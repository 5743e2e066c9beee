/* proof.c - HMAC-SHA256 over what handshake.h says, with the key of one token. */
#include "worker/proof.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A text of NAME.SECRET and nothing else but space around it. */
static int read_token(struct token_key *out, char *text, struct err *e)
{
    char *name = text + strspn(text, " \t\r\n"), *secret = strchr(name, '.');

    name[strcspn(name, " \t\r\n")] = '\0';
    if (!secret || secret == name || secret[1] == '\0' || secret - name > LIMIT_ACCOUNT_BYTES)
        return err_set(e, ERR_option, "it holds no token: NAME.SECRET, as --new-token prints it");
    *secret++ = '\0';
    memcpy(out->name, name, (size_t)(secret - name));
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, strlen(secret), out->key) != 0)
        return err_set(e, ERR_internal, "SHA-256 is not to be had");
    return 0;
}

static int read_file(struct token_key *out, int fd, struct err *e)
{
    char text[256] = "";
    struct stat s;
    ssize_t n;
    int rc;

    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode))
        return err_set(e, ERR_option, "it is no file");
    if (s.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(e, ERR_option, "others may read or change it: chmod 600 it");
    n = read(fd, text, sizeof text - 1);
    if (n < 0)
        return err_sys(e, ERR_option, errno, "read it");
    rc = read_token(out, text, e);
    gnutls_memset(text, 0, sizeof text);
    return rc;
}

int token_key_read(struct token_key *out, const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

    *out = (struct token_key){.name = ""};
    if (fd < 0)
        return err_sys(e, ERR_option, errno, "open %s", path);
    rc = read_file(out, fd, e);
    close(fd);
    return rc == 0 ? 0 : err_context(e, "--token-file %s", path);
}

static bool sign(enum handshake_by by, const struct token_key *key, const struct frame *auth,
                 const uint8_t nonce[HANDSHAKE_BYTES], uint8_t out[HANDSHAKE_BYTES])
{
    uint8_t text[HANDSHAKE_TEXT_BYTES];
    size_t len = handshake_text(by, nonce, auth, text);

    return len > 0 &&
           gnutls_hmac_fast(GNUTLS_MAC_SHA256, key->key, sizeof key->key, text, len, out) == 0;
}

int auth_sign(struct frame *auth, const struct token_key *key, const uint8_t nonce[HANDSHAKE_BYTES],
              struct err *e)
{
    struct frame_auth *a = &auth->auth;

    memcpy(a->name, key->name, sizeof a->name);
    a->n_nonce = a->n_proof = HANDSHAKE_BYTES;
    if (gnutls_rnd(GNUTLS_RND_NONCE, a->nonce, HANDSHAKE_BYTES) != 0)
        return err_set(e, ERR_link, "no random numbers are to be had");
    if (!sign(HANDSHAKE_BY_WORKER, key, auth, nonce, a->proof))
        return err_set(e, ERR_link, "the proof for the server cannot be made");
    return 0;
}

bool server_proves(const struct frame_proof *answer, const struct frame *auth,
                   const struct token_key *key, const uint8_t nonce[HANDSHAKE_BYTES])
{
    uint8_t expected[HANDSHAKE_BYTES];

    return answer->n_proof == HANDSHAKE_BYTES &&
           sign(HANDSHAKE_BY_SERVER, key, auth, nonce, expected) &&
           gnutls_memcmp(expected, answer->proof, HANDSHAKE_BYTES) == 0;
}
