/* http_listen.c - the sockets that clients come to: a port, and a Unix socket by its path. */
#include "server/http_internal.h"
#include "schema/limits.h"
#include "server/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESERVED_DESCRIPTORS 128

static struct socket_file file;

void listen_limits(const struct http_options *o, uint32_t *at_port, uint32_t *at_path)
{
    uint64_t all = LIMIT_CONNECTIONS + LIMIT_CONNECTIONS_UNIX;
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < all + RESERVED_DESCRIPTORS)
        all = files.rlim_cur > 2 * RESERVED_DESCRIPTORS ? files.rlim_cur - RESERVED_DESCRIPTORS
                                                        : RESERVED_DESCRIPTORS;
    *at_path = o->path && o->path[0] ? (uint32_t)(all * LIMIT_CONNECTIONS_UNIX /
                                                  (LIMIT_CONNECTIONS + LIMIT_CONNECTIONS_UNIX))
                                     : 0;
    if (!o->host || !o->host[0])
        *at_port = 0;
    else if (all - *at_path < LIMIT_CONNECTIONS)
        *at_port = (uint32_t)(all - *at_path);
    else
        *at_port = LIMIT_CONNECTIONS;
}

/* ---- the port ---- */

static int find_address(const struct http_options *o, struct addrinfo **out, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char port[8];
    int rc;

    snprintf(port, sizeof port, "%u", o->port);
    rc = getaddrinfo(o->host, port, &hints, out);
    if (rc != 0)
        return err_set(e, ERR_option, "--listen %s: %s", o->host, gai_strerror(rc));
    return 0;
}

/* As libmicrohttpd would: a port in TIME_WAIT may be taken, [::] is IPv6 alone. */
static int bind_socket(int fd, const struct addrinfo *at)
{
    const int on = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return -1;
    if (at->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0)
        return -1;
    return bind(fd, at->ai_addr, at->ai_addrlen);
}

int listen_refused(const struct http_options *o, int family, int why, struct err *e)
{
    const char *left = family == AF_INET6 ? "[" : "", *right = *left ? "]" : "";

    if (family == AF_UNIX)
        return err_sys(e, ERR_option, why, "listen on unix:%s", o->path);
    if (why == EADDRINUSE)
        return err_set(e, ERR_option,
                       "--listen %s%s%s:%u: another program listens there: give another port, or 0 "
                       "for a free one",
                       left, o->host, right, o->port);
    return err_sys(e, ERR_option, why, "--listen %s%s%s:%u", left, o->host, right, o->port);
}

int listen_port(const struct http_options *o, int *fd, int *family, struct err *e)
{
    struct addrinfo *at;
    int rc = -1;

    if (find_address(o, &at, e) != 0)
        return -1;
    *family = at->ai_family;
    *fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd >= 0)
        rc = bind_socket(*fd, at);
    if (rc != 0)
        listen_refused(o, *family, errno, e);
    freeaddrinfo(at);
    return rc;
}

int listen_lend(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

int listen_settle(int fd, int lent, bool taken)
{
    int why = errno;
    struct stat own, other;

    if (taken) {
        close(fd);
        fd = lent;
    } else if (fstat(fd, &own) == 0 && fstat(lent, &other) == 0 && own.st_ino == other.st_ino &&
               own.st_dev == other.st_dev) {
        close(lent); /* the number is no other thread's by now */
    }
    errno = why;
    return fd;
}

/* ---- the Unix socket ---- */

int listen_path(const struct http_options *o, int *fd, struct err *e)
{
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return err_sys(e, ERR_option, errno, "make a socket for %s", o->path);
    return socket_file_bind(&file, *fd, o->path, o->path_mode, e);
}

void listen_path_remove(void)
{
    socket_file_remove(&file);
}
