/* tokens.h - who may come in: the token file, and whether a token is in it.
 *
 * A line of the file is NAME ROLE SHA256 [QUOTA=N]...: the account, what the token may do, and the
 * SHA-256 of its secret in hex. '#' begins a comment. An account may have several tokens. A token
 * is written NAME.SECRET; its secret has 256 random bits, so that a plain hash of it is as good as
 * a slow one. Only the hash is kept.
 *
 * Any thread but where it says otherwise.
 */
#ifndef TUTTI_SERVER_TOKENS_H
#define TUTTI_SERVER_TOKENS_H

#include "schema/error.h"
#include "server/account.h"

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_HASH_BYTES 32
#define TOKEN_SECRET_CHARS 43 /* base64url of 32 bytes */
#define TOKEN_TEXT_BYTES (LIMIT_ACCOUNT_BYTES + 1 + TOKEN_SECRET_CHARS + 1)

enum role {
    ROLE_read,   /* looks at what is its account's */
    ROLE_user,   /* and works with it */
    ROLE_admin,  /* and with everybody's */
    ROLE_worker, /* is a rank: comes in at the worker link, and not over HTTP */
    ROLE_COUNT
};

const char *role_name(enum role r);

/* Who a request is from. */
struct visitor {
    struct account *account;
    enum role role;
    uint32_t list;                   /* the number of the list that its token was found in */
    uint8_t token[TOKEN_HASH_BYTES]; /* zero where nobody is asked */
};

/* Whose things it may see: its account's alone; NULL: everybody's. */
static inline const struct account *visitor_scope(const struct visitor *v)
{
    return v->role == ROLE_admin ? NULL : v->account;
}

static inline bool visitor_sees(const struct visitor *v, const struct account *owner)
{
    return v->role == ROLE_admin || v->account == owner;
}

/* Main thread. Reads the file, which nobody but its owner may read, in the place of what was read
 * before; arena_bytes is what a quota in percent is of. Returns 0, or -1 with ERR_option that names
 * the line; then what was read before still holds. */
int tokens_load(const char *path, uint64_t arena_bytes, struct err *e);

/* Main thread, before anybody asks: one admin token of this process, in no file, into text. */
int tokens_make_only(char text[TOKEN_TEXT_BYTES], struct err *e);

/* Is anybody asked who they are? */
bool tokens_wanted(void);

/* Whose token it is. Returns 0, or -1 with ERR_unauthorized, the same whatever is wrong with it. A
 * worker's token is none here. The time it takes tells nothing of the secret. */
int tokens_find(const char *text, struct visitor *out, struct err *e);

/* Does the token of a visitor that tokens_find gave still hold, with the same role? Costs nothing
 * while the file has not been read again. */
bool tokens_still(const struct visitor *v);

/* SHA-256 of each secret of NAME's worker tokens, up to max: the keys of the worker link's
 * challenge. Returns how many. */
uint32_t tokens_worker_keys(const char *name, uint8_t keys[][TOKEN_HASH_BYTES], uint32_t max);

/* Main thread: makes a token for "NAME:ROLE", appends its line to the file (made if need be, 0600)
 * and gives the token, which is nowhere else. Returns 0, or -1 with ERR_option. */
int tokens_add(const char *path, const char *who, char text[TOKEN_TEXT_BYTES], struct err *e);

void tokens_fini(void);

#endif
