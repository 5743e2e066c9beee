/* account.h - who owns and who pays: names, and what each has in use of what each may use.
 *
 * An account is made when its name is first heard (a token, a row of the database) and lives as
 * long as the process: pointers to it may be kept by anybody. Where nobody is asked who they are,
 * everything belongs to the account "". Any thread.
 */
#ifndef TUTTI_SERVER_ACCOUNT_H
#define TUTTI_SERVER_ACCOUNT_H

#include "schema/error.h"
#include "schema/limits.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum use {
    USE_arena,   /* bytes: uploads, outputs, and what outputs of unfinished jobs will take */
    USE_jobs,    /* unfinished */
    USE_waits,   /* requests that wait for something to happen */
    USE_streams, /* of events */
    USE_groups,
    USE_keys, /* values that ranks keep for one another */
    USE_COUNT
};

#define ACCOUNT_NO_LIMIT UINT64_MAX

struct account {
    char name[LIMIT_ACCOUNT_BYTES + 1]; /* [A-Za-z][A-Za-z0-9_-]* or "" */
    _Atomic uint64_t most[USE_COUNT];
    _Atomic uint64_t used[USE_COUNT];
    struct {             /* scheduler.c's, by priority; core thread */
        uint64_t turn;   /* of the job queued last */
        uint64_t queued; /* jobs */
    } lines[2 * LIMIT_PRIORITY + 1];
    struct account *next; /* of all, in no order */
};

/* The account of a name, made if need be: no limits, nothing used. NULL: out of memory. */
struct account *account_get(const char *name);

/* One that is there already; NULL: there is none of this name. */
struct account *account_find(const char *name);

/* Of "": always there. */
struct account *account_everybody(void);

/* What a use is called in a token file: "arena"; NULL past the last. */
const char *account_use_name(enum use u);

/* Takes n more, all or nothing. Returns 0, or -1 with ERR_quota: which, how much, of how much. */
int account_take(struct account *a, enum use u, uint64_t n, struct err *e);

/* Takes n more whatever the limit is: what was promised before. */
void account_force(struct account *a, enum use u, uint64_t n);

void account_give_back(struct account *a, enum use u, uint64_t n);

/* Forgets all but "": for tests and the end of the process, when nobody holds one. */
void account_fini(void);

#endif
