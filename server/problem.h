/* problem.h - the one place where a struct err becomes a status and a problem document (RFC 9457).
 * Pure; any thread. */
#ifndef TUTTI_SERVER_PROBLEM_H
#define TUTTI_SERVER_PROBLEM_H

#include "schema/error.h"
#include "server/text.h"

#define PROBLEM_MEDIA "application/problem+json"

/* Appends {"type","title","status","detail","code",...}; pointer, ranks, asked_bytes and free_bytes
 * where they are set. The type is a link to the error's page, by out->up. `job` ("j_...", or NULL)
 * names the job that failed. */
void problem_write(struct text *out, const struct err *e, const char *job);

/* Seconds for Retry-After, 0 when the status has none. */
int problem_retry_after(const struct err *e);

#endif
