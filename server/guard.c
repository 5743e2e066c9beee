/* guard.c - refuses ambiguous framing, malformed targets, foreign Hosts and Origins. */
#include "server/guard.h"
#include "schema/limits.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct {
    char listen_host[256];
    const char *hosts, *origins; /* comma-separated */
    bool wildcard;
} guard;

void guard_init(const char *listen_host, const char *allowed_hosts, const char *allowed_origins)
{
    snprintf(guard.listen_host, sizeof guard.listen_host, "%s", listen_host);
    guard.hosts = allowed_hosts ? allowed_hosts : "";
    guard.origins = allowed_origins ? allowed_origins : "";
    guard.wildcard = strcmp(listen_host, "0.0.0.0") == 0 || strcmp(listen_host, "::") == 0;
}

/* ---- the target ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Bytes that must still follow in a UTF-8 sequence, and the range of the next one. */
struct utf8 {
    int left;
    unsigned low, high;
};

static bool utf8_next(struct utf8 *u, unsigned c)
{
    if (u->left > 0) {
        bool fits = c >= u->low && c <= u->high;

        u->left--;
        u->low = 0x80;
        u->high = 0xbf;
        return fits;
    }
    u->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    u->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    u->left = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    return c < 0x80 || (c >= 0xc2 && c <= 0xf4);
}

static int bad_target(struct err *e, const char *what)
{
    return err_set(e, ERR_bad_target, "the request target %s", what);
}

int guard_target(const char *raw, struct err *e)
{
    struct utf8 u = {0};

    if (raw[0] != '/' && strcmp(raw, "*") != 0)
        return bad_target(e, "must begin with / (send the path alone, not a URL)");
    if (strlen(raw) > LIMIT_TARGET_BYTES)
        return err_set(e, ERR_target_too_long, "the request target has at most %d bytes",
                       LIMIT_TARGET_BYTES);
    for (const char *p = raw; *p; p++) {
        unsigned c = (unsigned char)*p;

        if (c <= 0x20 || c == 0x7f)
            return bad_target(e, "has a space or a control character; escape it as %XX");
        if (c == '%') {
            if (hex(p[1]) < 0 || hex(p[2]) < 0)
                return bad_target(e, "has a % that two hexadecimal digits do not follow");
            c = (unsigned)(hex(p[1]) << 4 | hex(p[2]));
            p += 2;
            if (c == 0)
                return bad_target(e, "has %00 in it");
        }
        if (!utf8_next(&u, c))
            return bad_target(e, "is not UTF-8");
    }
    return u.left == 0 ? 0 : bad_target(e, "is not UTF-8");
}

/* ---- Host and Origin ---- */

/* host without port and brackets; "" when it is no host with a port. */
static size_t bare_host(const char *text, const char **host)
{
    const char *end;

    *host = text;
    if (text[0] == '[') {
        *host = text + 1;
        end = strchr(text, ']');
        if (!end)
            return 0;
    } else {
        end = text + strcspn(text, ":");
    }
    text = end + (*end == ']');
    if (*text && (*text != ':' || strspn(text + 1, "0123456789") != strlen(text + 1)))
        return 0;
    return (size_t)(end - *host);
}

static bool is(const char *host, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(host, word, len) == 0;
}

static bool among(const char *text, size_t len, const char *words)
{
    while (*words) {
        size_t n = strcspn(words, ",");

        if (n == len && strncasecmp(words, text, n) == 0)
            return true;
        words += n + (words[n] == ',');
    }
    return false;
}

static bool is_loopback(const char *host, size_t len)
{
    char text[64];
    struct in_addr v4;

    if (is(host, len, "localhost") || is(host, len, "::1"))
        return true;
    if (len >= sizeof text)
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    return inet_pton(AF_INET, text, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

/* A name can be made to point here by anybody; an address cannot. */
static bool is_address(const char *host, size_t len)
{
    char text[64];
    unsigned char address[16];

    if (len >= sizeof text)
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static int check_host(const char *text, struct err *e)
{
    const char *host;
    size_t len = bare_host(text, &host);

    if (is_loopback(host, len) || is(host, len, guard.listen_host) ||
        among(host, len, guard.hosts) || (guard.wildcard && is_address(host, len)))
        return 0;
    return err_set(e, ERR_host_not_allowed,
                   "Host %.64s is not served here; start the server with --allowed-host", text);
}

static int check_origin(const struct guard_head *h, struct err *e)
{
    const char *authority;

    if (!h->origin)
        return 0;
    authority = strstr(h->origin, "://");
    if ((authority && strcasecmp(authority + 3, h->host) == 0) ||
        among(h->origin, strlen(h->origin), guard.origins))
        return 0;
    return err_set(e, ERR_origin_not_allowed,
                   "Origin %.64s may not call this service; start the server with --allowed-origin",
                   h->origin);
}

/* ---- framing ---- */

static int framing(struct err *e, const char *what)
{
    return err_set(e, ERR_bad_framing, "%s", what);
}

static int read_length(const char *text, int64_t *out, struct err *e)
{
    uint64_t length = 0;

    if (!*text)
        return framing(e, "Content-Length is empty");
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return framing(e, "Content-Length must be digits");
        if (__builtin_mul_overflow(length, 10u, &length) ||
            __builtin_add_overflow(length, (uint64_t)(*p - '0'), &length) || length > INT64_MAX)
            return err_set(e, ERR_body_too_large, "Content-Length passes 2^63-1");
    }
    *out = (int64_t)length;
    return 0;
}

static int check_framing(const struct guard_head *h, int64_t *length_bytes, struct err *e)
{
    *length_bytes = 0;
    if (h->lengths > 1)
        return framing(e, "Content-Length is there twice");
    if (h->encodings > 1 || (h->encodings && strcasecmp(h->encoding, "chunked") != 0))
        return framing(e, "Transfer-Encoding may only be chunked");
    if (h->encodings && h->lengths)
        return framing(e, "Content-Length and Transfer-Encoding exclude each other");
    if (h->encodings && strcmp(h->version, "HTTP/1.1") != 0)
        return framing(e, "HTTP/1.0 has no Transfer-Encoding");
    if (h->encodings)
        *length_bytes = -1;
    return h->lengths ? read_length(h->length, length_bytes, e) : 0;
}

int guard_head(const struct guard_head *h, int64_t *length_bytes, struct err *e)
{
    if (h->headers > LIMIT_HEADERS || h->header_bytes > LIMIT_HEADERS_BYTES)
        return err_set(e, ERR_headers_too_large,
                       "a request has at most %d headers of %u bytes in all", LIMIT_HEADERS,
                       LIMIT_HEADERS_BYTES);
    if (h->bad_name)
        return framing(e, "a header's name is no token (is there a space before its colon?)");
    if (h->bad_value)
        return err_set(e, ERR_bad_header, "a header's value has a control character");
    if (check_framing(h, length_bytes, e) != 0)
        return -1;
    if (h->hosts != 1)
        return err_set(e, ERR_bad_header, "a request has exactly one Host header");
    if (h->origins > 1)
        return err_set(e, ERR_bad_header, "Origin is there twice");
    if (h->repeated)
        return err_set(e, ERR_bad_header, "%s is there twice", h->repeated);
    if (check_host(h->host, e) != 0 || check_origin(h, e) != 0)
        return -1;
    if (h->expect && strcasecmp(h->expect, "100-continue") != 0)
        return err_set(e, ERR_expectation_failed, "only Expect: 100-continue can be met");
    if (h->content_encoding && strcasecmp(h->content_encoding, "identity") != 0)
        return err_set(e, ERR_unsupported_media,
                       "Content-Encoding %.32s is not taken; send plain bytes",
                       h->content_encoding);
    return 0;
}
