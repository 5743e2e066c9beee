/* negotiate.h - Content-Type, Accept and ?format= to a format. Pure; any thread. */
#ifndef TUTTI_SERVER_NEGOTIATE_H
#define TUTTI_SERVER_NEGOTIATE_H

#include "schema/error.h"
#include "server/codec.h"

/* content_type: the header, NULL when missing. mask: 1u << FORMAT_x of what the route takes.
 * Returns 0, or -1 with ERR_unsupported_media listing what is taken. Parameters after ';' are
 * ignored, but a charset other than utf-8 of JSON is refused. */
int negotiate_in(const char *content_type, unsigned mask, enum format *out, struct err *e);

/* accept: the header, NULL when missing (then fallback, as for any wildcard); format: ?format= or
 * NULL, which beats the header. q-values are honoured; mask as above. Returns 0, or -1 with
 * ERR_not_acceptable listing what there is. */
int negotiate_out(const char *accept, const char *format, unsigned mask, enum format fallback,
                  enum format *out, struct err *e);

/* The same for JSON documents, one a line: application/x-ndjson, application/ndjson,
 * application/jsonl; the first is what is answered with. */
#define LINES_MEDIA "application/x-ndjson"
int negotiate_lines_in(const char *content_type, struct err *e);
int negotiate_lines_out(const char *accept, struct err *e);

#endif
