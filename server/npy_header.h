/* npy_header.h - the dict at the head of a .npy, read by a tokenizer of its own and never
 * evaluated. Pure; any thread. Source: numpy.lib.format. */
#ifndef TUTTI_SERVER_NPY_HEADER_H
#define TUTTI_SERVER_NPY_HEADER_H

#include "schema/dtype.h"
#include "schema/error.h"
#include "schema/shape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct npy_header {
    enum dtype dtype;
    bool void2; /* '|V2': two bytes that only the request can explain */
    bool big_endian, fortran;
    struct shape shape;
};

/* The first bytes of a body, as many as there are: refuses as soon as they cannot be a .npy.
 * Returns 0, or -1 with ERR_npy_bad_magic (naming .npz and pickle) or ERR_npy_version. */
int npy_check_magic(const uint8_t *bytes, size_t len, struct err *e);

/* The dict's text. Returns 0, or -1 with ERR_npy_header, ERR_dtype_unsupported, ERR_shape_invalid
 * or ERR_shape_too_large. */
int npy_header_read(const char *text, size_t len, struct npy_header *out, struct err *e);

/* Magic, version 1.0 and dict as NumPy writes them, padded to 64 bytes. stack: length of a new axis
 * 0, or 0 for none. Returns the bytes written, at most NPY_HEADER_TEXT. */
size_t npy_header_write(enum dtype d, const struct shape *s, uint32_t stack, char *out);
#define NPY_HEADER_TEXT 1024

#endif
