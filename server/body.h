/* body.h - a request's body on its way in: JSON text under a memory budget, or a codec's bytes into
 * an extent. One request, one thread at a time. */
#ifndef TUTTI_SERVER_BODY_H
#define TUTTI_SERVER_BODY_H

#include "schema/error.h"
#include "server/codec.h"
#include "server/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum body_kind {
    BODY_NONE,    /* a body is refused unless empty */
    BODY_JSON,    /* JSON only, at most LIMIT_JSON_PARAM_BYTES */
    BODY_TENSORS, /* JSON, npy, safetensors or raw */
    BODY_MAYBE,   /* one of these, or none */
    BODY_VALUE,   /* JSON only, at most LIMIT_VALUE_BYTES, or none */
    BODY_LINES,   /* JSON documents, one a line: their text is not looked at */
};

struct body {
    enum format format;
    bool begun, finished;
    bool lines;
    const struct codec *codec; /* NULL for JSON */
    void *codec_state;
    char *text; /* JSON */
    size_t text_len, text_cap, text_max;
    struct json_span json;  /* after body_finish */
    struct payload payload; /* after body_finish */
};

/* Before the first byte: everything that can be refused is refused here. Reserves the extent when
 * the length is known. */
int body_begin(struct body *b, enum body_kind kind, const char *content_type,
               const struct codec_head *head, struct err *e);
int body_feed(struct body *b, const uint8_t *bytes, size_t len, struct err *e);
int body_finish(struct body *b, struct err *e);

/* Frees everything, extent and budget too; accepts zeroed memory; may be called twice. */
void body_fini(struct body *b);

/* JSON bytes held by all requests now: for tests and metrics. */
uint64_t body_json_bytes(void);

#endif
