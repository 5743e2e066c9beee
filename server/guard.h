/* guard.h - refuses what libmicrohttpd 0.9.75 lets through: ambiguous framing, malformed targets,
 * foreign Hosts and Origins. Pure but for guard_init; any thread. */
#ifndef TUTTI_SERVER_GUARD_H
#define TUTTI_SERVER_GUARD_H

#include "schema/error.h"
#include "server/http.h"

/* The host we listen on and what --allowed-host / --allowed-origin add (comma-separated, may be
 * NULL). Loopback names are always allowed. Main thread, once. */
void guard_init(const char *listen_host, const char *allowed_hosts, const char *allowed_origins);

/* The raw request target, before any decoding: origin-form (or "*" for OPTIONS), no byte <= 0x20 or
 * 0x7f, no %00, only whole escapes, valid UTF-8 after decoding, at most LIMIT_TARGET_BYTES. Returns
 * 0, or -1 with ERR_bad_target. */
int guard_target(const char *raw, struct err *e);

/* The head's facts, gathered by http.c in one walk over the headers. */
struct guard_head {
    const char *version;                         /* "HTTP/1.1" */
    uint32_t hosts, lengths, encodings, origins; /* how many of each header */
    uint32_t headers, header_bytes;              /* of any */
    const char *host, *length, *encoding, *origin, *expect, *content_encoding;
    const char *repeated;     /* the name of one that may stand once and stands twice; NULL */
    unsigned seen;            /* the gatherer's */
    bool bad_name, bad_value; /* a name that is no token; CR, LF or NUL in a value */
};

/* Returns 0 and the length (-1: chunked, 0: none), or -1 with ERR_bad_framing, ERR_bad_header,
 * ERR_host_not_allowed, ERR_origin_not_allowed, ERR_expectation_failed, ERR_unsupported_media
 * (Content-Encoding), ERR_body_too_large. */
int guard_head(const struct guard_head *h, int64_t *length_bytes, struct err *e);

#endif
