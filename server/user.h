/* user.h - from root to a user who may do little, with no way back. Main thread, before any other.
 */
#ifndef TUTTI_SERVER_USER_H
#define TUTTI_SERVER_USER_H

#include "schema/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct user {
    bool given;
    uid_t uid;
    gid_t gid;
    char name[64];   /* "" for numbers */
    char home[4096]; /* "" for numbers: nobody says where */
};

/* "NAME" of the user database, or "UID:GID". Returns 0, or -1 with ERR_option: there is none, or it
 * is root. */
int user_find(struct user *out, const char *text, struct err *e);

/* Becomes that user, with the groups of NAME and no capability, and HOME as it has it, for workers
 * too; whoever is that user already stays so. Seals the process again. Returns 0, or -1 with
 * ERR_option: this process may not, or could come back. */
int user_become(const struct user *u, struct err *e);

#endif
