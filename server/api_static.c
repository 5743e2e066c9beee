/* api_static.c - the files that the server carries, and 304 for who has them already. */
#include "server/api.h"
#include "server/routes.h"
#include "server/static.h"

#include <stdlib.h>
#include <string.h>

/* Swagger UI's style has its icons as data: URLs, which fetch nothing. Nothing else is allowed that
 * other pages are not. */
int api_static(struct request *rq, struct err *e)
{
    const struct static_file *f = static_find(rq->route->pattern);
    const char *match = request_header(rq, "If-None-Match");
    struct part *part;

    if (!f)
        return err_set(e, ERR_internal, "%s is no file", rq->route->pattern);
    reply_header(rq, "ETag", "%s", f->etag);
    /* Asked for again each time: after an upgrade nobody has an old page with new scripts. */
    reply_header(rq, "Cache-Control", "no-cache");
    if (strcmp(f->route, "/docs") == 0)
        reply_header(rq, "Content-Security-Policy", "%s; img-src 'self' data:", PAGE_POLICY);
    if (match && (strstr(match, f->etag) || strcmp(match, "*") == 0))
        return reply_empty(rq, 304);
    part = malloc(sizeof *part);
    if (!part)
        return err_set(e, ERR_no_memory, "%s", f->route);
    *part = (struct part){.bytes = f->bytes, .len = f->len};
    rq->reply.parts = (struct parts){.part = part, .n = 1, .total_bytes = f->len};
    return reply_parts(rq, 200, f->type);
}
