/* dial.c - connect, within a time; over TCP with what a network that breaks needs. */
#include "worker/dial.h"
#include "schema/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
    struct sockaddr_storage address;
    struct addrinfo to;
} reached;

bool dial_is_tcp(const char *server)
{
    return strncmp(server, "unix:", 5) != 0;
}

static int dial_unix(const char *path, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof at.sun_path)
        return err_set(e, ERR_link, "the socket's path is longer than %zu bytes",
                       sizeof at.sun_path - 1);
    strcpy(at.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    err_sys(e, ERR_link, errno, "connect to %s", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Returns 0, or -1 with errno. */
static int connect_in_time(int fd, const struct addrinfo *to)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int why = 0, flags = fcntl(fd, F_GETFL);
    socklen_t size = sizeof why;

    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0) {
        if (errno != EINPROGRESS)
            return -1;
        if (poll(&p, 1, LIMIT_HELLO_MS) != 1)
            why = ETIMEDOUT;
        else
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size);
    }
    fcntl(fd, F_SETFL, flags);
    errno = why;
    return why ? -1 : 0;
}

/* A connection on which nobody has anything to say is seen to break, too. */
static void keep_alive(int fd)
{
    int on = 1, idle_s = 2, every_s = 1, times = 4;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
}

static int dial_address(const struct addrinfo *to)
{
    unsigned silent_ms = LIMIT_TCP_SILENT_MS;
    int on = 1, fd, why;

    fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms, sizeof silent_ms);
    if (connect_in_time(fd, to) == 0)
        return fd;
    why = errno;
    close(fd);
    errno = why;
    return -1;
}

/* Splits HOST:PORT, with an IPv6 address in brackets. */
static int split(const char *server, char *host, size_t size, const char **port, struct err *e)
{
    const char *colon = strrchr(server, ':'), *from = server;
    size_t len = colon ? (size_t)(colon - server) : 0;

    if (len >= 2 && server[0] == '[' && server[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (len == 0 || len >= size || !colon[1])
        return err_set(e, ERR_link, "\"%.60s\" is neither unix:PATH nor HOST:PORT", server);
    snprintf(host, size, "%.*s", (int)len, from);
    *port = colon + 1;
    return 0;
}

static void keep_address(const struct addrinfo *to)
{
    if (to->ai_addrlen > sizeof reached.address)
        return;
    memcpy(&reached.address, to->ai_addr, to->ai_addrlen);
    reached.to = (struct addrinfo){.ai_family = to->ai_family,
                                   .ai_addr = (struct sockaddr *)&reached.address,
                                   .ai_addrlen = to->ai_addrlen};
}

static int dial_tcp(const char *server, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    char host[256];
    const char *port = "";
    int fd = -1, rc;

    if (split(server, host, sizeof host, &port, e) != 0)
        return -1;
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        return err_set(e, ERR_link, "%s: %s", server, gai_strerror(rc));
    for (const struct addrinfo *to = found; to && fd < 0; to = to->ai_next) {
        fd = dial_address(to);
        rc = errno;
        if (fd >= 0)
            keep_address(to);
    }
    freeaddrinfo(found);
    return fd >= 0 ? fd : err_sys(e, ERR_link, rc, "connect to %s", server);
}

int dial(const char *server, struct err *e)
{
    return dial_is_tcp(server) ? dial_tcp(server, e) : dial_unix(server + strlen("unix:"), e);
}

int dial_again(struct err *e)
{
    int fd = reached.to.ai_addrlen ? dial_address(&reached.to) : (errno = ENOTCONN, -1);

    if (fd >= 0)
        keep_alive(fd);
    return fd >= 0 ? fd : err_sys(e, ERR_link, errno, "connect to the server again");
}

int dial_family(void)
{
    return reached.to.ai_family;
}

uint32_t dial_silent_ms(int fd)
{
    struct tcp_info info;
    socklen_t size = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return 0;
    return info.tcpi_last_data_recv;
}
