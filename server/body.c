/* body.c - JSON text under a memory budget, or a codec's bytes into an extent. */
#include "server/body.h"
#include "schema/limits.h"
#include "server/negotiate.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_uint_least64_t json_bytes; /* held by all requests */

uint64_t body_json_bytes(void)
{
    return atomic_load(&json_bytes);
}

static int too_large(const struct body *b, struct err *e)
{
    return err_set(
        e, ERR_body_too_large, "JSON here has at most %zu bytes%s", b->text_max,
        b->text_max == LIMIT_JSON_BODY_BYTES ? "; send the tensors as .npy or safetensors" : "");
}

/* Grows the text's room, inside the budget that all requests share. */
static int reserve(struct body *b, size_t need, struct err *e)
{
    size_t cap = 2 * b->text_cap;
    char *text;

    if (need <= b->text_cap)
        return 0;
    if (cap > b->text_max)
        cap = b->text_max;
    if (cap < need) /* a length known beforehand is reserved as it is */
        cap = need;
    if (atomic_fetch_add(&json_bytes, cap - b->text_cap) + cap - b->text_cap >
        LIMIT_JSON_MEMORY_BYTES) {
        atomic_fetch_sub(&json_bytes, cap - b->text_cap);
        return err_set(e, ERR_overloaded,
                       "too many JSON bodies are being read; try again, or send .npy");
    }
    text = realloc(b->text, cap);
    if (!text) {
        atomic_fetch_sub(&json_bytes, cap - b->text_cap);
        return err_set(e, ERR_no_memory, "a JSON body");
    }
    b->text = text;
    b->text_cap = cap;
    return 0;
}

static int begin_json(struct body *b, enum body_kind kind, const struct codec_head *head,
                      struct err *e)
{
    b->text_max = kind == BODY_JSON    ? LIMIT_JSON_PARAM_BYTES
                  : kind == BODY_VALUE ? LIMIT_VALUE_BYTES
                                       : LIMIT_JSON_BODY_BYTES;
    if (head->length_bytes < 0)
        return 0;
    if ((uint64_t)head->length_bytes > b->text_max)
        return too_large(b, e);
    return reserve(b, (size_t)head->length_bytes, e);
}

/* A raw tensor that has no elements is a body that has no bytes. */
static bool is_empty_tensor(const char *content_type, const struct codec_head *head)
{
    enum format format;
    struct err e;

    if (!head->has_shape || !content_type ||
        negotiate_in(content_type, 1u << FORMAT_raw, &format, &e) != 0)
        return false;
    for (uint32_t i = 0; i < head->shape.ndim; i++) {
        if (head->shape.dim[i] == 0)
            return true;
    }
    return false;
}

int body_begin(struct body *b, enum body_kind kind, const char *content_type,
               const struct codec_head *head, struct err *e)
{
    unsigned mask = 1u << FORMAT_json;
    bool tensors = kind == BODY_TENSORS || kind == BODY_MAYBE;
    bool empty = head->length_bytes == 0 && !(tensors && is_empty_tensor(content_type, head));

    *b = (struct body){0};
    if (kind == BODY_NONE) {
        if (head->length_bytes == 0)
            return 0;
        return err_set(e, ERR_unsupported_media, "this endpoint takes no body");
    }
    if (empty && (kind == BODY_MAYBE || kind == BODY_VALUE))
        return 0;
    if (empty)
        return err_set(e, ERR_empty_body, "the body is empty; this endpoint needs one");
    b->lines = kind == BODY_LINES;
    if (b->lines) {
        if (negotiate_lines_in(content_type, e) != 0)
            return -1;
        b->begun = true;
        return begin_json(b, kind, head, e);
    }
    if (tensors)
        mask |= 1u << FORMAT_npy | 1u << FORMAT_safetensors | 1u << FORMAT_raw;
    if (negotiate_in(content_type, mask, &b->format, e) != 0)
        return -1;
    b->begun = true;
    if (b->format == FORMAT_json)
        return begin_json(b, kind, head, e);
    b->codec = codec_of(b->format);
    return b->codec->begin(&b->codec_state, head, e);
}

int body_feed(struct body *b, const uint8_t *bytes, size_t len, struct err *e)
{
    if (!b->begun)
        return err_set(e, ERR_unsupported_media, "this endpoint takes no body");
    if (b->codec)
        return b->codec->feed(b->codec_state, bytes, len, e);
    if (len > b->text_max - b->text_len)
        return too_large(b, e);
    if (reserve(b, b->text_len + len, e) != 0)
        return -1;
    if (len > 0)
        memcpy(b->text + b->text_len, bytes, len);
    b->text_len += len;
    return 0;
}

int body_finish(struct body *b, struct err *e)
{
    if (!b->begun)
        return 0;
    if (b->lines) {
        b->finished = true;
        return 0;
    }
    if (b->codec ? b->codec->finish(b->codec_state, &b->payload, e) != 0
                 : json_check(b->text ? b->text : "", b->text_len, &b->json, e) != 0)
        return -1;
    b->finished = true;
    return 0;
}

void body_fini(struct body *b)
{
    if (b->codec)
        b->codec->drop(b->codec_state);
    payload_fini(&b->payload);
    free(b->text);
    atomic_fetch_sub(&json_bytes, b->text_cap);
    *b = (struct body){0};
}
