/* codec_region.h - tensors in JSON whose bytes lie in a region of the lane. */
#ifndef TUTTI_SERVER_CODEC_REGION_H
#define TUTTI_SERVER_CODEC_REGION_H

#include "server/codec.h"

/* {"region": "r_...", "offset": 0} of an object, in a region of inputs of who (NULL: everybody): a
 * tensor of these bytes, which its client may still write to. offset NULL: 0. Returns 0, or -1 with
 * ERR_region_unknown or ERR_region_range and a pointer. */
int region_tensor_read(const struct json_span *region, const struct json_span *offset,
                       enum dtype dtype, const struct shape *shape, const char *pointer,
                       const struct visitor *who, struct tensor **out, struct err *e);

#endif
