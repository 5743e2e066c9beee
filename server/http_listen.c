/* http_listen.c - the sockets that clients come to: a port, and a Unix socket by its path. */
#include "server/http_internal.h"
#include "schema/limits.h"
#include "schema/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RESERVED_DESCRIPTORS 128

/* The socket's file, which is ours to remove as long as it is still this one. */
static struct {
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    dev_t device;
    ino_t inode;
} file;

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

/* Does anybody listen there? A socket whose server has died is left behind, and nobody answers. */
static bool is_alive(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)at, sizeof *at);
    bool alive = rc == 0 || errno == EAGAIN; /* its backlog is full */

    if (fd >= 0)
        close(fd);
    return alive;
}

/* Nothing may be there but what a server before us has left. */
static int clear_place(const struct sockaddr_un *at, struct err *e)
{
    struct stat s;

    if (lstat(at->sun_path, &s) != 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_option, errno, "look at %s", at->sun_path);
    if (!S_ISSOCK(s.st_mode))
        return err_set(e, ERR_option,
                       "%s is there and is no socket: remove it, or name another place",
                       at->sun_path);
    if (is_alive(at))
        return err_set(e, ERR_option,
                       "another process listens on %s: stop it, or name another place",
                       at->sun_path);
    if (unlink(at->sun_path) != 0)
        return err_sys(e, ERR_option, errno, "remove the socket %s, which nobody listens on",
                       at->sun_path);
    return 0;
}

/* Nobody else can connect before its mode says so. */
static int bind_path(int fd, const struct sockaddr_un *at, uint32_t mode, struct err *e)
{
    struct stat s;

    if (clear_place(at, e) != 0)
        return -1;
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)at, sizeof *at) != 0)
        return err_sys(e, ERR_option, errno, "listen on unix:%s", at->sun_path);
    strcpy(file.path, at->sun_path);
    if (lstat(file.path, &s) == 0) {
        file.device = s.st_dev;
        file.inode = s.st_ino;
    }
    if (chmod(file.path, mode) != 0)
        return err_sys(e, ERR_option, errno, "chmod %04o %s", (unsigned)mode, file.path);
    return 0;
}

int listen_path(const struct http_options *o, int *fd, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    if (strlen(o->path) >= sizeof at.sun_path)
        return err_set(e, ERR_option, "%s is too long a name for a socket", o->path);
    strcpy(at.sun_path, o->path);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return err_sys(e, ERR_option, errno, "make a socket for %s", o->path);
    return bind_path(*fd, &at, o->path_mode, e);
}

void listen_path_remove(void)
{
    struct stat s;

    if (file.path[0] && lstat(file.path, &s) == 0 && s.st_dev == file.device &&
        s.st_ino == file.inode && unlink(file.path) != 0)
        log_warn("the socket %s stays: %s", file.path, strerror(errno));
    file.path[0] = '\0';
}
