/* options_values.h - what each option's text means, and what follows when it was not given. For
 * options.c alone. */
#ifndef TUTTI_SERVER_OPTIONS_VALUES_H
#define TUTTI_SERVER_OPTIONS_VALUES_H

#include "server/options.h"

#define OPTION_AUTO UINT32_MAX /* of workers, until options_complete counted the cores */

#define OPTION(name) int option_##name(struct options *o, const char *text, struct err *e)
OPTION(listen);
OPTION(listen_mode);
OPTION(no_unix);
OPTION(workers);
OPTION(world);
OPTION(backend);
OPTION(data_dir);
OPTION(durable);
OPTION(arena_dir);
OPTION(arena_size);
OPTION(lane);
OPTION(lane_size);
OPTION(worker_listen);
OPTION(allowed_host);
OPTION(allowed_origin);
OPTION(retain);
OPTION(log_level);
OPTION(log_format);
OPTION(token_file);
OPTION(new_token);
OPTION(tls_cert);
OPTION(tls_key);
OPTION(insecure);
OPTION(overlap);
OPTION(resident_size);
OPTION(health);
OPTION(print_tables);
OPTION(user);
#undef OPTION

/* Computes what was left out, and checks what must fit together. options_defaults.c. */
int options_complete(struct options *o, struct err *e);

#endif
