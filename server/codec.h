/* codec.h - how tensors travel: the vtable of json, npy, safetensors and raw.
 *
 * Reading: begin (head known, no byte of the body yet), feed (pieces, in order), finish, and drop
 * in every case. Bytes of binary bodies go straight into an extent. A codec's state belongs to one
 * request and is used by one thread at a time.
 */
#ifndef TUTTI_SERVER_CODEC_H
#define TUTTI_SERVER_CODEC_H

#include "schema/dtype.h"
#include "schema/error.h"
#include "schema/shape.h"
#include "server/json.h"
#include "server/tokens.h"
#include "server/tensor.h"
#include "server/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum format { FORMAT_json, FORMAT_npy, FORMAT_safetensors, FORMAT_raw, FORMAT_COUNT };

/* What is known before the body. */
struct codec_head {
    bool has_dtype;
    enum dtype dtype;
    bool has_shape;
    struct shape shape;
    int64_t length_bytes;  /* Content-Length, -1 when chunked */
    struct account *payer; /* of the extents; NULL: everybody */
};

/* What a binary body held: one tensor (a job's is stacked along axis 0), or named ones. */
struct payload {
    struct tensor *whole; /* npy, raw; NULL for safetensors */
    uint32_t n;           /* safetensors */
    struct payload_item {
        char name[32]; /* longer names are cut: they are no ranks */
        struct tensor *tensor;
    } * items;
};

void payload_fini(struct payload *p); /* drops the references; accepts zeroed memory */

/* Bytes to send: pieces of heap memory and of tensors. */
struct parts {
    struct part {
        const void *bytes;
        size_t len;
    } * part;
    uint32_t n;
    size_t total_bytes;
    void *heap;           /* freed with it; may be NULL */
    struct tensor **held; /* references released with it */
    uint32_t n_held;
};

void parts_fini(struct parts *p); /* accepts zeroed memory */

/* What to send. t[] are the caller's references; write takes its own. */
struct codec_out {
    uint32_t n;
    struct tensor *const *t; /* NULL where a rank has nothing */
    const char *map;         /* "0,0,-": which of t each rank has; NULL: its own */
    bool stacked, as_uint16; /* along a new axis 0, else n is 1; bfloat16 as its bits */
};

struct codec {
    enum format format;
    const char *name;  /* "npy", for ?format= */
    const char *media; /* "application/x-npy" */
    /* Reading; NULL for json, which api layers read with json_tensor_read. */
    int (*begin)(void **state, const struct codec_head *head, struct err *e);
    int (*feed)(void *state, const uint8_t *bytes, size_t len, struct err *e);
    int (*finish)(void *state, struct payload *out, struct err *e);
    void (*drop)(void *state); /* always, also after finish; accepts NULL */
    /* Writing; npy and raw refuse what they cannot say: ERR_not_acceptable. */
    int (*write)(const struct codec_out *what, struct parts *out, struct err *e);
};

const struct codec *codec_of(enum format f);
extern const struct codec codec_json, codec_npy, codec_safetensors, codec_raw;

/* For codecs: an extent that the payer pays. */
int codec_alloc(struct account *payer, uint64_t size_bytes, struct extent **out, struct err *e);

/* For codecs: head bytes (copied) and then the bytes of every tensor that is there.
 * Returns 0, or -1 with ERR_no_memory. */
int parts_of(const struct codec_out *what, const void *head, size_t head_len, struct parts *out,
             struct err *e);

/* For codecs: all bytes are there, and, if alike, all tensors are, with one shape.
 * Returns 0, or -1 with ERR_not_acceptable or ERR_tensor_lost. */
int codec_check_out(const struct codec_out *what, bool alike, const char *format, struct err *e);

/* For codecs: an extent's bytes as a bool tensor holds them, each 0 or 1. */
void codec_normalise_bool(uint8_t *bytes, uint64_t n);

/* {"job": ..., "rank": ...} in the place of a tensor: the output of a job. */
struct json_output {
    bool by_line; /* of an earlier line of the same body */
    struct id job;
    int64_t line; /* from 0; below 0: so many before this one */
    uint32_t rank;
};

/* Whoever knows the jobs whose outputs a body may name. */
struct json_jobs {
    const struct visitor *who; /* whose tensors may be named, and who pays for new ones */
    uint32_t rank; /* the group rank whose input is read: the rank where none is named */
    /* A new reference in *out. Returns 0, or -1. */
    int (*find)(struct json_jobs *jobs, const struct json_output *what, struct tensor **out,
                struct err *e);
    void (*free)(struct json_jobs *jobs);
};

/* A JSON tensor, JsonTensor of schema/openapi.yaml: nested list, number, object with
 * dtype/shape/data, {"tensor":"t_..."}, {"job":"j_...","rank":0}, or null (then *out is NULL). span
 * must come from a json_check'd document; the numbers go straight into an extent, no tree is built.
 *
 *   dtype    of plain lists, and what an object without dtype has
 *   pointer  where span stands in the document, for errors: "/inputs/0"
 *   jobs     who asks, and what finds outputs of jobs (find is NULL: they may not be named here);
 *            NULL: everybody
 *   named    set when it was a {"tensor":...}: *out is then that tensor (ERR_input_unknown when
 *            there is none, ERR_tensor_lost when its bytes are gone)
 *
 * Returns 0 or -1 with a pointer in e. The reference in *out is the caller's. */
int json_tensor_read(const struct json_span *span, enum dtype dtype, const char *pointer,
                     struct json_jobs *jobs, struct tensor **out, bool *named, struct err *e);

/* A shape as a JSON list of integers. Returns 0, or -1 with ERR_shape_invalid and a pointer. */
int json_shape_read(const struct json_span *value, const char *pointer, struct shape *out,
                    struct err *e);

/* A tensor's elements nested as NumPy's tolist(), a scalar bare. As long as json_tensor_elements
 * says: whoever calls it has looked. */
void json_tensor_write(struct text *out, const struct tensor *t);

/* What JSON shows of a tensor of this shape: its elements, or, where an axis is 0, the empty lists
 * in their place, which a shape of a few bytes may have without number. Above 2^50: 2^50, so that
 * those of a world can be added. */
uint64_t json_tensor_elements(const struct shape *s);

/* A stack along axis 0 as n tensors that share its extent. n must be shape[0] and ndim >= 1.
 * Returns 0, or -1 with ERR_stack_mismatch. */
int payload_split(const struct tensor *stack, uint32_t n, struct tensor **out, struct err *e);

#endif
