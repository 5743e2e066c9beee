/* reproduce.h - a job as a shell script that repeats it. Any thread. */
#ifndef TUTTI_SERVER_REPRODUCE_H
#define TUTTI_SERVER_REPRODUCE_H

#include "server/given.h"
#include "server/text.h"
#include "server/tokens.h"

#include <stdbool.h>

/* POSIX sh with curl, in ASCII. It has whatever the job was given: small inputs as JSON (or as
 * bytes, where JSON would not say every bit), others by the tensors' names while `who` finds them;
 * else it asks for a file. Nothing of a label or of another text of a client's is ever read by the
 * shell.
 *
 *   host  the request's Host, where the script turns to unless it is told otherwise
 */
void reproduce_write(struct text *out, const struct job_record *r, const struct given *g,
                     const char *host, bool tls, const struct visitor *who);

#endif
