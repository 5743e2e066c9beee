/* dtype.h - element types, read from dtypes.def. Pure; safe from any thread. */
#ifndef TUTTI_SCHEMA_DTYPE_H
#define TUTTI_SCHEMA_DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum dtype {
#define DTYPE(name, bytes, class, npy, st, aliases) DTYPE_##name,
#include "schema/dtypes.def"
#undef DTYPE
    DTYPE_COUNT
};

enum dtype_class { CLASS_FLOAT, CLASS_INT, CLASS_UINT, CLASS_BOOL };

struct dtype_row {
    const char *name;
    uint32_t size_bytes; /* of one element */
    enum dtype_class kind;
    const char *npy;         /* NumPy's descr without byte order; "" for bfloat16 */
    const char *safetensors; /* its name there */
    const char *aliases;     /* separated by spaces */
};

extern const struct dtype_row dtypes[DTYPE_COUNT];

/* The dtype called text[0..len), by name or alias, case-insensitive; "torch.X" means X.
 * Returns 0, or -1 when there is none. */
int dtype_find(const char *text, size_t len, enum dtype *out);

/* "float16 bfloat16 ...": every name, for an error's detail. Static storage. */
const char *dtype_names(void);

#endif
