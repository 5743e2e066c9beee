/* fuzz.h - what harnesses share: the input's bytes as choices, an arena in which a stray byte is
 * seen, and what must be so of every error and every tensor.
 *
 * A harness is one function, LLVMFuzzerTestOneInput, linked to libFuzzer (make fuzz) or to replay.c
 * (make test). It must end every input where it began: no extent, no tensor, no memory kept. One
 * thread.
 */
#ifndef TUTTI_TESTS_FUZZ_H
#define TUTTI_TESTS_FUZZ_H

#include "schema/error.h"
#include "server/body.h"
#include "server/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Says what is wrong and aborts: the engine keeps the input. */
void fuzz_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
#define FUZZ_CHECK(cond, ...)      \
    do {                           \
        if (!(cond))               \
            fuzz_die(__VA_ARGS__); \
    } while (0)

/* ---- the input ---- */

struct fuzz_in {
    const uint8_t *at;
    size_t len;
};

uint8_t fuzz_u8(struct fuzz_in *in); /* 0 when nothing is left */
uint32_t fuzz_u32(struct fuzz_in *in);
uint64_t fuzz_u64(struct fuzz_in *in);
/* Up to and without the next byte `end`, which is taken too; all that is left when there is none.
 * Terminated, the caller's to free. */
char *fuzz_line(struct fuzz_in *in, char end);
/* A copy that ends where the memory does, so that a sanitizer sees a read past it. */
void *fuzz_copy(const void *bytes, size_t len);

/* ---- the arena: 4 MiB, opened once ---- */

#define FUZZ_ARENA (4u << 20)

/* Opens it, the extents and the table of tensors; later calls do nothing. */
void fuzz_house(void);
struct arena *fuzz_arena(void);
/* No extent lives. All of the arena is out of bounds, but for what will be handed out, filled with
 * `fill`: two runs with two fills show whoever gives out bytes that he did not write. */
void fuzz_arena_fresh(uint8_t fill);
void fuzz_refill(uint8_t fill); /* from now on, also while extents live */
/* Dies when an extent lives or the allocator's books are wrong. */
void fuzz_arena_empty(void);
/* A directory of this process's own on tmpfs, gone at exit; for files of single inputs. */
const char *fuzz_dir(void);

/* ---- what must be so ---- */

/* Its code is an error's, its problem document is JSON. */
void fuzz_check_err(const struct err *e);
/* Its shape, size and extent are of one mind. */
void fuzz_check_tensor(const struct tensor *t);
void fuzz_check_same(const struct tensor *a, const struct tensor *b);
/* One JSON document and nothing else. */
void fuzz_check_json(const char *text, size_t len, const char *what);

/* ---- bodies ---- */

/* A body in pieces whose sizes follow from `cuts`; 0: in one piece. body_begin, body_feed,
 * body_finish; the caller's body_fini in any case. Returns 0, or -1 with an e that was checked. */
int fuzz_body(struct body *b, enum format f, const struct codec_head *head, const uint8_t *bytes,
              size_t len, uint32_t cuts, struct err *e);

/* Reads the input's first bytes as what is known before a body. */
struct codec_head fuzz_head(struct fuzz_in *in);

/* A whole harness for a binary format: the same body twice, in one piece of known length and
 * chunked in pieces, must come to the same end; what is taken is written and read again. */
int fuzz_codec(enum format f, const uint8_t *data, size_t len);

#endif
