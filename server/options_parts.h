/* options_parts.h - what the options say to each part of the server. Main thread. */
#ifndef TUTTI_SERVER_OPTIONS_PARTS_H
#define TUTTI_SERVER_OPTIONS_PARTS_H

#include "server/http.h"
#include "server/options.h"
#include "server/sandbox.h"

/* Texts are those of o, which must stay. */
struct http_options options_http(const struct options *o);
struct sandbox_options options_sandbox(const struct options *o);

#endif
