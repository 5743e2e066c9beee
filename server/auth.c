/* auth.c - the bearer token of a request, what its role may do, and who guesses. */
#include "server/auth.h"

#include "schema/clock.h"

#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS 1024
#define WINDOW_US (LIMIT_AUTH_WINDOW_S * 1000000ull)

/* Wrong tokens of one address, or of one user of this machine. Two addresses may share a slot: then
 * the later one's count begins anew, which forgives, and never accuses. */
struct failures {
    uint64_t address; /* 0: none */
    uint64_t since_us;
    uint32_t n;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct failures slots[SLOTS]; /* under lock */

/* An IPv6 host has a /64 to itself. */
static uint64_t address_of(const struct origin *origin)
{
    const struct sockaddr *from = origin->address;
    uint64_t key = 0;

    if (origin->local)
        key = 2ull << 32 | origin->uid;
    else if (from && from->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)from;

        key = 1ull << 32 | v4->sin_addr.s_addr;
    } else if (from && from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)from;

        memcpy(&key, v6->sin6_addr.s6_addr, sizeof key);
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
            memcpy(&key, v6->sin6_addr.s6_addr + 8, sizeof key);
    }
    return key ? key : 1;
}

/* One more. Returns whether they are too many. */
static bool count_failure(const struct origin *from)
{
    uint64_t address = address_of(from), now = clock_us();
    struct failures *f = &slots[(address * 0x9e3779b97f4a7c15ull) >> 54 & (SLOTS - 1)];
    bool many;

    pthread_mutex_lock(&lock);
    if (f->address != address || now - f->since_us > WINDOW_US)
        *f = (struct failures){.address = address, .since_us = now};
    many = ++f->n > LIMIT_AUTH_FAILURES;
    pthread_mutex_unlock(&lock);
    return many;
}

int auth_query(const char *query, struct err *e)
{
    static const char *const names[] = {"token",  "access_token",  "api_key", "apikey",
                                        "bearer", "authorization", "auth"};

    for (const char *at = query; *at; at += strcspn(at, "&"), at += *at == '&') {
        size_t len = strcspn(at, "=&");

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (strlen(names[i]) == len && strncasecmp(at, names[i], len) == 0)
                return err_set(e, ERR_token_in_query,
                               "%s= in the URL is kept by proxies and histories: make a new token, "
                               "and send it as the header Authorization: Bearer NAME.SECRET",
                               names[i]);
        }
    }
    return 0;
}

static const char *bearer(const char *authorization)
{
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
        return NULL;
    authorization += 7;
    return authorization + strspn(authorization, " ");
}

/* Whoever sends none, or another scheme's, is told the same as whoever sends a wrong one, but only
 * wrong ones are counted. */
static int find(const char *authorization, const struct origin *from, struct visitor *out,
                struct err *e)
{
    const char *text = bearer(authorization);

    if (tokens_find(text ? text : "", out, e) == 0)
        return 0;
    if (text && *text && e->code == ERR_unauthorized && count_failure(from))
        return err_set(e, ERR_too_many_failures,
                       "%u wrong tokens came from this %s within a minute; the right one is "
                       "still taken",
                       LIMIT_AUTH_FAILURES, from->local ? "user" : "address");
    return -1;
}

static int refuse_stranger(const struct origin *from, struct err *e)
{
    return err_set(e, ERR_forbidden,
                   "this socket is for user %u, as whom the service runs, and you are user %u: use "
                   "the port, or start the service with --token-file, and bring a token",
                   (unsigned)geteuid(), (unsigned)from->uid);
}

int auth_visitor(const char *authorization, const struct origin *from, bool open, bool changes,
                 struct visitor *out, struct err *e)
{
    *out = (struct visitor){.account = account_everybody(), .role = ROLE_admin};
    if (!tokens_wanted())
        return from->stranger && !open ? refuse_stranger(from, e) : 0;
    out->role = ROLE_read;
    if (open)
        return 0;
    if (find(authorization, from, out, e) != 0)
        return -1;
    if (changes && out->role == ROLE_read)
        return err_set(e, ERR_forbidden, "a token of the role read may only look");
    return 0;
}

int auth_still(const struct visitor *v, struct err *e)
{
    if (!tokens_wanted() || tokens_still(v))
        return 0;
    return err_set(e, ERR_unauthorized, "the token was taken back while this request waited");
}
