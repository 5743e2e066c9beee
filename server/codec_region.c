/* codec_region.c - tensors that a client has put into a region: named, and not read. */
#include "server/codec_region.h"
#include "server/number.h"
#include "server/region.h"

#include <stdio.h>

static int find(const struct json_span *value, const char *pointer, const struct visitor *who,
                struct region **out, struct err *e)
{
    const struct account *scope = who ? visitor_scope(who) : account_everybody();
    char text[65];
    struct id id;
    long len = json_kind(value) == JSON_STRING ? json_string(value, text, sizeof text) : -1;

    if (len < 0)
        snprintf(text, sizeof text, "%.*s", json_shown(value, 64), value->at);
    *out = len >= 0 && id_parse('r', text, (size_t)len, &id) == 0 ? region_find(&id, scope) : NULL;
    if (*out && (*out)->kind == REGION_inputs)
        return 0;
    err_set(e, ERR_region_unknown,
            *out ? "%s is a region of results: what lies there is named by its tensor"
                 : "there is no region %s: one lives as long as the connection to the lane that "
                   "opened it",
            text);
    region_unref(*out);
    return err_pointer(e, "%s/region", pointer);
}

static int read_offset(const struct json_span *value, const char *pointer, uint64_t *out,
                       struct err *e)
{
    *out = 0;
    if (!value || (json_kind(value) == JSON_NUMBER &&
                   number_read(value->at, value->len, DTYPE_uint64, (uint8_t *)out, e) == 0))
        return 0;
    err_set(e, ERR_region_range, "offset is a number of bytes from the region's start, not %.*s",
            json_shown(value, 40), value->at);
    return err_pointer(e, "%s/offset", pointer);
}

static int check_piece(const struct region *r, uint64_t offset, uint64_t bytes, enum dtype dtype,
                       const char *pointer, struct err *e)
{
    uint32_t element = dtypes[dtype].size_bytes;

    if (offset % element)
        err_set(e, ERR_region_range, "offset is a multiple of the %u bytes of a %s, not %llu",
                element, dtypes[dtype].name, (unsigned long long)offset);
    else if (offset > r->size_bytes || bytes > r->size_bytes - offset)
        err_set(e, ERR_region_range, "%llu bytes at %llu leave the region, which has %llu",
                (unsigned long long)bytes, (unsigned long long)offset,
                (unsigned long long)r->size_bytes);
    else
        return 0;
    return err_pointer(e, "%s/offset", pointer);
}

int region_tensor_read(const struct json_span *region, const struct json_span *offset,
                       enum dtype dtype, const struct shape *shape, const char *pointer,
                       const struct visitor *who, struct tensor **out, struct err *e)
{
    struct extent *x = NULL;
    struct region *r;
    uint64_t at, bytes;
    int rc = -1;

    if (shape_measure(shape, dtype, NULL, &bytes, e) != 0)
        return err_pointer(e, "%s/shape", pointer);
    if (read_offset(offset, pointer, &at, e) != 0 || find(region, pointer, who, &r, e) != 0)
        return -1;
    if (check_piece(r, at, bytes, dtype, pointer, e) == 0 &&
        region_piece(r, at, bytes, &x, e) == 0) {
        *out = tensor_new(dtype, shape, x, 0);
        rc = *out ? 0 : err_set(e, ERR_no_memory, "a tensor");
    }
    extent_unref(x); /* the tensor has its own reference */
    region_unref(r);
    return rc;
}
