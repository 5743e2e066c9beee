/* address.c - the address at which other hosts reach this one. */
#include "worker/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool to_text(const struct sockaddr *a, char out[ADDRESS_BYTES])
{
    socklen_t len = a->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                            : sizeof(struct sockaddr_in6);

    return getnameinfo(a, len, out, ADDRESS_BYTES, NULL, 0, NI_NUMERICHOST) == 0;
}

/* Reachable from elsewhere; an IPv6 address that needs its interface named is not. */
static bool is_far(const struct sockaddr *a, int family)
{
    if (!a || a->sa_family != family)
        return false;
    return family == AF_INET ||
           !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* Of the interface called name; NULL: of any but the loopback. IPv4 goes first: a group needs one
 * family. */
static bool of_interface(const char *name, char out[ADDRESS_BYTES])
{
    static const int families[] = {AF_INET, AF_INET6};
    struct ifaddrs *all;
    bool found = false;

    if (getifaddrs(&all) != 0)
        return false;
    for (int i = 0; i < 2 && !found; i++) {
        for (const struct ifaddrs *at = all; at && !found; at = at->ifa_next) {
            bool wanted = name ? strcmp(at->ifa_name, name) == 0 : !(at->ifa_flags & IFF_LOOPBACK);

            if (wanted && at->ifa_flags & IFF_UP && is_far(at->ifa_addr, families[i]))
                found = to_text(at->ifa_addr, out);
        }
    }
    freeifaddrs(all);
    return found;
}

static bool is_here(const char *host)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;

    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    freeaddrinfo(found);
    return true;
}

int address_find(const char *wish, int link_fd, char out[ADDRESS_BYTES], struct err *e)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof own;

    if (wish) {
        if (of_interface(wish, out))
            return 0;
        if (!is_here(wish))
            return err_set(e, ERR_option,
                           "--gloo-interface: there is no interface, and no address, %.100s here",
                           wish);
        snprintf(out, ADDRESS_BYTES, "%.*s", ADDRESS_BYTES - 1, wish);
        return 0;
    }
    if (link_fd >= 0 && getsockname(link_fd, (struct sockaddr *)&own, &len) == 0 &&
        to_text((const struct sockaddr *)&own, out))
        return 0;
    if (!of_interface(NULL, out))
        strcpy(out, "127.0.0.1");
    return 0;
}
