/* codec.c - the table of formats, and what payloads and parts own. */
#include "server/codec.h"

#include <stdlib.h>
#include <string.h>

const struct codec *codec_of(enum format f)
{
    static const struct codec *const rows[FORMAT_COUNT] = {
        [FORMAT_json] = &codec_json,
        [FORMAT_npy] = &codec_npy,
        [FORMAT_safetensors] = &codec_safetensors,
        [FORMAT_raw] = &codec_raw,
    };

    return rows[f];
}

void payload_fini(struct payload *p)
{
    tensor_unref(p->whole);
    for (uint32_t i = 0; i < p->n; i++)
        tensor_unref(p->items[i].tensor);
    free(p->items);
    *p = (struct payload){0};
}

void parts_fini(struct parts *p)
{
    for (uint32_t i = 0; i < p->n_held; i++)
        tensor_unref(p->held[i]);
    free(p->held);
    free(p->heap);
    free(p->part);
    *p = (struct parts){0};
}

int parts_of(const struct codec_out *what, const void *head, size_t head_len, struct parts *out,
             struct err *e)
{
    *out = (struct parts){0};
    out->part = calloc(what->n + 1, sizeof *out->part);
    out->held = calloc(what->n + 1, sizeof *out->held);
    out->heap = malloc(head_len + 1);
    if (!out->part || !out->held || !out->heap) {
        parts_fini(out);
        return err_set(e, ERR_no_memory, "an answer of %u tensors", what->n);
    }
    if (head_len > 0) {
        memcpy(out->heap, head, head_len);
        out->part[out->n++] = (struct part){.bytes = out->heap, .len = head_len};
        out->total_bytes = head_len;
    }
    for (uint32_t i = 0; i < what->n; i++) {
        struct tensor *t = what->t[i];

        if (!t)
            continue;
        out->held[out->n_held++] = tensor_ref(t);
        if (t->size_bytes == 0)
            continue;
        out->part[out->n++] = (struct part){.bytes = tensor_data(t), .len = t->size_bytes};
        out->total_bytes += t->size_bytes;
    }
    return 0;
}

int codec_check_out(const struct codec_out *what, bool alike, const char *format, struct err *e)
{
    const struct tensor *first = NULL;

    for (uint32_t i = 0; i < what->n; i++) {
        const struct tensor *t = what->t[i];

        if (!t && alike)
            return err_set(e, ERR_not_acceptable,
                           "rank %u has no output, so the outputs are no %s stack; ask for "
                           "safetensors or json, or for one rank's output",
                           i, format);
        if (!t)
            continue;
        if (!tensor_data(t) && t->size_bytes > 0)
            return err_set(e, ERR_tensor_lost, "the bytes of rank %u's output are gone", i);
        if (first && alike && !shape_equal(&first->shape, &t->shape))
            return err_set(e, ERR_not_acceptable,
                           "the outputs differ in shape; ask for safetensors or json");
        first = t;
    }
    return 0;
}

void codec_normalise_bool(uint8_t *bytes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        bytes[i] = bytes[i] != 0;
}

int payload_split(const struct tensor *stack, uint32_t n, struct tensor **out, struct err *e)
{
    struct shape one = {.ndim = stack->shape.ndim - 1};
    uint64_t bytes;

    if (stack->shape.ndim == 0)
        return err_set(e, ERR_stack_mismatch,
                       "a job's tensor is stacked: axis 0 is the rank, and a scalar has none");
    if (stack->shape.dim[0] != n)
        return err_set(e, ERR_stack_mismatch,
                       "axis 0 of the stack has length %llu, but the group has %u ranks",
                       (unsigned long long)stack->shape.dim[0], n);
    for (uint32_t i = 0; i < one.ndim; i++)
        one.dim[i] = stack->shape.dim[i + 1];
    bytes = stack->size_bytes / n;
    for (uint32_t r = 0; r < n; r++) {
        out[r] = tensor_new(stack->dtype, &one, stack->extent, stack->offset + r * bytes);
        if (!out[r]) {
            while (r-- > 0)
                tensor_unref(out[r]);
            return err_set(e, ERR_no_memory, "%u tensors", n);
        }
    }
    return 0;
}

int codec_alloc(struct account *payer, uint64_t size_bytes, struct extent **out, struct err *e)
{
    return extent_alloc_for(payer ? payer : account_everybody(), size_bytes, out, e);
}
