/* given.h - what a job was given, for who wants to repeat it when its inputs are gone: small inputs
 * byte for byte, of larger ones the names. Plain values: no thread. */
#ifndef TUTTI_SERVER_GIVEN_H
#define TUTTI_SERVER_GIVEN_H

#include "server/record.h"
#include "server/tensor.h"

#include <stddef.h>
#include <stdint.h>

struct given {
    uint8_t *bytes; /* of every rank that gives, one after another; NULL: more than
                       LIMIT_GIVEN_BYTES, or on a device */
    size_t size;
    struct id *ids; /* then n tensors, which may be gone; zero of ranks that give nothing */
};

/* inputs: record_needs(r), or NULL. NULL when a rank's input is not there: it did not come, or is a
 * promise, or was lost; or without memory. */
struct given *given_of(const struct job_record *r, struct tensor *const *inputs);
void given_free(struct given *g); /* NULL is ignored */

/* How many ranks give, and of how many bytes each. */
uint32_t given_count(const struct job_record *r);
uint64_t given_input_bytes(const struct job_record *r);

#endif
