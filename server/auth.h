/* auth.h - who a request is from, and whether they may ask it. Any thread. */
#ifndef TUTTI_SERVER_AUTH_H
#define TUTTI_SERVER_AUTH_H

#include "schema/error.h"
#include "server/tokens.h"

#include <stdbool.h>

#include <sys/types.h>

struct sockaddr;

/* Where a request comes from. */
struct origin {
    const struct sockaddr *address; /* of a client over TCP; may be NULL */
    bool local;                     /* on the Unix socket: then not the address, but whose it is */
    uid_t uid;
    bool stranger; /* and that is not our user, nor root, nor is everybody welcome */
};

/* Does a query (raw, without its '?') carry a token, where proxies and histories keep it? Returns
 * 0, or -1 with ERR_token_in_query. */
int auth_query(const char *query, struct err *e);

/* Reads the Authorization header (NULL: none) of a request from `from`. Where nobody is asked, the
 * visitor is everybody, and may do anything; on the Unix socket only our own user is let in then,
 * who is asked by the kernel. open: it is answered to whoever asks. changes: it does
 * more than look. Returns 0; or -1 with ERR_unauthorized, the same whatever is wrong;
 * ERR_too_many_failures, after too many wrong tokens of that address or user; ERR_forbidden. */
int auth_visitor(const char *authorization, const struct origin *from, bool open, bool changes,
                 struct visitor *out, struct err *e);

/* For whoever has waited: may the visitor that auth_visitor gave still come in? Its token may have
 * been taken out of the file meanwhile. Returns 0, or -1 with ERR_unauthorized. */
int auth_still(const struct visitor *v, struct err *e);

#endif
