/* health.c - one GET over a socket of its own, in the clear or in TLS. */
#include "server/health.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_S 3

static int patient_socket(int family)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* of connect too */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    return fd;
}

static int dial_path(const char *path, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = patient_socket(AF_UNIX);

    if (fd < 0)
        return err_sys(e, ERR_link, errno, "make a socket");
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    err_sys(e, ERR_link, errno, "connect to unix:%s", path);
    close(fd);
    return -1;
}

static int dial(const char *host, uint16_t port, struct err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    char service[8];
    int fd, why, rc;

    snprintf(service, sizeof service, "%u", port);
    rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        return err_set(e, ERR_option, "%s: %s", host, gai_strerror(rc));
    fd = patient_socket(found->ai_family);
    rc = fd < 0 ? -1 : connect(fd, found->ai_addr, found->ai_addrlen);
    why = errno;
    freeaddrinfo(found);
    if (rc == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return err_sys(e, ERR_link, why, "connect to %s:%u", host, port);
}

static int check(const char *answer, struct err *e)
{
    if (strncmp(answer, "HTTP/1.1 200 ", strlen("HTTP/1.1 200 ")) == 0)
        return 0;
    return err_set(e, ERR_link, "it answers \"%.*s\"", (int)strcspn(answer, "\r\n"), answer);
}

static int ask_plain(int fd, const char *request, struct err *e)
{
    char answer[128] = "";

    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 ||
        recv(fd, answer, sizeof answer - 1, 0) < 0)
        return err_sys(e, ERR_link, errno, "ask it");
    return check(answer, e);
}

static int ask_in_session(gnutls_session_t session, const char *request, struct err *e)
{
    char answer[128] = "";
    ssize_t rc;

    do {
        rc = gnutls_handshake(session);
    } while (rc < 0 && !gnutls_error_is_fatal((int)rc) && rc != GNUTLS_E_AGAIN);
    if (rc == 0)
        rc = gnutls_record_send(session, request, strlen(request));
    do {
        if (rc >= 0 || rc == GNUTLS_E_INTERRUPTED)
            rc = gnutls_record_recv(session, answer, sizeof answer - 1);
    } while (rc == GNUTLS_E_INTERRUPTED);
    if (rc < 0)
        return err_set(e, ERR_link, "TLS: %s", gnutls_strerror((int)rc));
    return check(answer, e);
}

static int ask_tls(int fd, const char *request, struct err *e)
{
    gnutls_certificate_credentials_t trust = NULL;
    gnutls_session_t session = NULL;
    int rc = -1;

    if (gnutls_certificate_allocate_credentials(&trust) != 0 ||
        gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL) != 0 ||
        gnutls_set_default_priority(session) != 0 ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, trust) != 0) {
        err_set(e, ERR_internal, "TLS is not to be had");
        goto out;
    }
    gnutls_transport_set_int(session, fd);
    rc = ask_in_session(session, request, e);
out:
    if (session)
        gnutls_deinit(session);
    if (trust)
        gnutls_certificate_free_credentials(trust);
    return rc;
}

int health_ask(const char *host, uint16_t port, const char *path, bool tls, struct err *e)
{
    const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    int fd, rc;

    fd = host[0] ? dial(host, port, e) : dial_path(path, e);
    if (fd < 0)
        return -1;
    rc = tls ? ask_tls(fd, request, e) : ask_plain(fd, request, e);
    close(fd);
    return rc;
}
