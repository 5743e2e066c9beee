/* reduce_part.h - a reduction whose inputs do not all lie in one place: what was reduced elsewhere
 * comes as accumulators, and goes on as such.
 *
 * The bits are those of reduce.h on all inputs at once, in the same order. Pure after reduce_init;
 * any thread.
 */
#ifndef TUTTI_WORKER_REDUCE_PART_H
#define TUTTI_WORKER_REDUCE_PART_H

#include "worker/reduce.h"

/* What an accumulator is: float32 for sums, products and means of 16-bit floats, which are rounded
 * once, at the end; else d. */
enum dtype reduce_part_dtype(enum dtype d, enum reduction r);

/* Are the bits the same in any order? Not those of sums, products and means of floats. */
bool reduce_any_order(enum dtype d, enum reduction r);

/* acc = (before op) in[0] op in[1] ...; before: accumulators, or NULL for none, and then n >= 1.
 * acc may be before. */
void reduce_part_add(enum dtype d, enum reduction r, uint8_t *acc, const uint8_t *before,
                     const uint8_t *const in[], uint32_t n, size_t count);

/* out, of dtype d, from the accumulators of all `ranks` inputs. out may be acc where the dtypes
 * are one. */
void reduce_part_end(enum dtype d, enum reduction r, uint8_t *out, const uint8_t *acc,
                     uint32_t ranks, size_t count);

#endif
