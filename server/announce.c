/* announce.c - where it listens, whether it answers, and tokens that were made: the one time that
 * their secrets are seen. */
#include "server/announce.h"

#include "server/health.h"
#include "server/tokens.h"

#include <stdio.h>
#include <string.h>

void announce(const struct options *o, uint16_t port, const char *own_token)
{
    const char *host = options_reach(o->listen_host);
    bool v6 = strchr(host, ':') != NULL;
    char url[sizeof o->listen_host + 32];

    snprintf(url, sizeof url, "http%s://%s%s%s:%u", o->tls_cert[0] ? "s" : "", v6 ? "[" : "", host,
             v6 ? "]" : "", port);
    printf("listening on %s\n", url);
    if (host != o->listen_host) /* no program can connect to a wildcard */
        printf("(on all addresses of this machine: from another one, write one of them instead of "
               "%s)\n",
               host);
    if (own_token[0]) /* in the fragment: no browser sends it, no proxy logs it */
        printf("open %s/#token=%s\n"
               "or send the header Authorization: Bearer %s\n"
               "(a token of this process; make lasting ones with --token-file FILE --new-token "
               "NAME:ROLE)\n",
               url, own_token, own_token);
    fflush(stdout);
}

int announce_new_token(const struct options *o)
{
    char text[TOKEN_TEXT_BYTES];
    struct err e;

    if (tokens_add(o->token_file, o->new_token, text, &e) != 0) {
        fprintf(stderr, "tutti-server: --new-token: %s\n", e.detail);
        return 1;
    }
    puts(text);
    return 0;
}

int announce_health(const struct options *o)
{
    struct err e;

    if (health_ask(options_reach(o->listen_host), o->listen_port, o->tls_cert[0] != '\0', &e) == 0)
        return 0;
    fprintf(stderr, "tutti-server: %s\n", e.detail);
    return 1;
}
