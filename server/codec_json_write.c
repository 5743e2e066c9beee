/* codec_json_write.c - tensors as JSON: nested lists, straight from the arena. */
#include "server/codec.h"
#include "server/number.h"

#include <stdlib.h>

#define ROOM (16 * 1024)
#define ELEMENTS_MAX (1ull << 50)

/* Opening (or closing) brackets at element i of `ndim` axes: one for every inner block that begins
 * (ends) there. */
static char *brackets(char *p, const uint64_t *dim, uint32_t ndim, uint64_t i, char bracket)
{
    uint64_t block = 1;

    for (uint32_t d = ndim; d-- > 0;) {
        block *= dim[d];
        if (i % block != 0)
            break;
        *p++ = bracket;
    }
    return p;
}

/* Units in all their brackets; a unit is an element, or an empty list where an axis is 0. */
static void write_units(struct text *out, const struct tensor *t, uint32_t ndim, uint64_t units)
{
    const uint8_t *data = tensor_data(t);
    const uint64_t *dim = t->shape.dim;
    char *p = NULL;
    size_t left = 0;

    for (uint64_t i = 0; i < units; i++) {
        char *from;

        if (left < NUMBER_TEXT + 2 * LIMIT_NDIM + 2) {
            if (p)
                out->len = (size_t)(p - out->data);
            p = text_room(out, ROOM);
            if (!p)
                return;
            left = ROOM;
        }
        from = p;
        p = brackets(p, dim, ndim, i, '[');
        if (ndim < t->shape.ndim) {
            *p++ = '[';
            *p++ = ']';
        } else {
            p += number_write(t->dtype, data + i * dtypes[t->dtype].size_bytes, p);
        }
        p = brackets(p, dim, ndim, i + 1, ']');
        if (i + 1 < units)
            *p++ = ',';
        left -= (size_t)(p - from);
    }
    if (!p)
        return;
    out->len = (size_t)(p - out->data);
    out->data[out->len] = '\0';
}

/* Units, and on how many axes they lie: all, or those before the first 0. */
static uint64_t count_units(const struct shape *s, uint32_t *ndim)
{
    uint64_t units = 1;

    for (*ndim = 0; *ndim < s->ndim && s->dim[*ndim] != 0; ++*ndim)
        units *= s->dim[*ndim];
    return units;
}

uint64_t json_tensor_elements(const struct shape *s)
{
    uint32_t ndim;
    uint64_t units = count_units(s, &ndim);

    return units < ELEMENTS_MAX ? units : ELEMENTS_MAX;
}

void json_tensor_write(struct text *out, const struct tensor *t)
{
    uint32_t ndim;
    uint64_t units = count_units(&t->shape, &ndim);

    write_units(out, t, ndim, units);
    text_value_end(out);
}

static void write_one(struct text *text, const struct tensor *t)
{
    text_object(text, NULL);
    text_string(text, "dtype", dtypes[t->dtype].name);
    text_array(text, "shape");
    for (uint32_t d = 0; d < t->shape.ndim; d++)
        text_uint(text, NULL, t->shape.dim[d]);
    text_end_array(text);
    text_name(text, "data");
    json_tensor_write(text, t);
    text_end_object(text);
}

static int json_write(const struct codec_out *what, struct parts *out, struct err *e)
{
    struct text text;

    if (codec_check_out(what, false, "json", e) != 0)
        return -1;
    text_init(&text);
    if (what->stacked)
        text_array(&text, NULL);
    for (uint32_t i = 0; i < what->n; i++) {
        if (what->t[i])
            write_one(&text, what->t[i]);
        else
            text_null(&text, NULL);
    }
    if (what->stacked)
        text_end_array(&text);
    text_raw(&text, "\n", 1);
    *out = (struct parts){.part = calloc(1, sizeof *out->part), .heap = text.data};
    if (text.failed || !out->part) {
        parts_fini(out);
        return err_set(e, ERR_no_memory, "the tensors as JSON; ask for npy");
    }
    out->part[0] = (struct part){.bytes = text.data, .len = text.len};
    out->n = 1;
    out->total_bytes = text.len;
    return 0;
}

const struct codec codec_json = {
    .format = FORMAT_json,
    .name = "json",
    .media = "application/json",
    .write = json_write,
};
