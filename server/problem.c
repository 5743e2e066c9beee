/* problem.c - a struct err as a problem document (RFC 9457). */
#include "server/problem.h"
#include "schema/limits.h"

#define UP_MOST 32 /* a target may be nothing but slashes */

/* RFC 9457 has it resolved against the request's URL. Where the service is under a prefix nobody
 * here knows, so that a path from the root would lead astray. */
static void type_write(struct text *out, const char *code)
{
    text_name(out, "type");
    if (out->up > UP_MOST) {
        text_format(out, "\"about:blank\"");
    } else {
        text_format(out, "\"");
        for (unsigned i = 0; i < out->up; i++)
            text_raw(out, "../", 3);
        text_format(out, "docs/errors/%s\"", code);
    }
    text_value_end(out);
}

void problem_write(struct text *out, const struct err *e, const char *job)
{
    text_object(out, NULL);
    type_write(out, err_name(e->code));
    text_string(out, "title", err_title(e->code));
    text_uint(out, "status", (uint64_t)err_status(e->code));
    text_string(out, "detail", e->detail);
    text_string(out, "code", err_name(e->code));
    if (e->pointer[0])
        text_string(out, "pointer", e->pointer);
    if (e->n_ranks > 0) {
        text_array(out, "ranks");
        for (uint32_t i = 0; i < e->n_ranks; i++)
            text_uint(out, NULL, e->ranks[i]);
        text_end_array(out);
    }
    if (e->asked_bytes > 0) {
        text_uint(out, "asked_bytes", e->asked_bytes);
        text_uint(out, "free_bytes", e->free_bytes);
    }
    if (job)
        text_string(out, "job", job);
    text_end_object(out);
}

int problem_retry_after(const struct err *e)
{
    int status = err_status(e->code);

    if (e->code == ERR_too_many_failures)
        return LIMIT_AUTH_WINDOW_S;
    return status == 429 || status == 503 ? 1 : 0;
}
