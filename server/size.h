/* size.h - bytes as people write them in options and in the token file: 65536, 512M, 4G. Pure. */
#ifndef TUTTI_SERVER_SIZE_H
#define TUTTI_SERVER_SIZE_H

#include "schema/error.h"

#include <stdint.h>

/* K, M, G and T are powers of 1024. Returns 0, or -1 with ERR_option. */
int size_read(uint64_t *out, const char *text, struct err *e);

#endif
