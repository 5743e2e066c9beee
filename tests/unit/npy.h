/* npy.h - makes .npy bodies for tests, right and wrong. */
#ifndef TUTTI_TESTS_NPY_H
#define TUTTI_TESTS_NPY_H

#include "tests/unit/codecs.h"

#define BYTES_MAX (256u << 10)
static uint8_t npy[BYTES_MAX];

/* Magic, version, the dict with padding up to `pad`, data. Returns the length. */
static inline size_t make(int version, const char *dict, size_t pad, const void *data, size_t len)
{
    size_t prefix = version == 1 ? 10 : 12, text = strlen(dict);

    text = text < pad ? pad : text;
    assert_true(prefix + text + len <= sizeof npy);
    memcpy(npy, "\x93NUMPY", 6);
    npy[6] = (uint8_t)version;
    npy[7] = 0;
    for (size_t i = 0; i < prefix - 8; i++)
        npy[8 + i] = (uint8_t)(text >> 8 * i);
    memset(npy + prefix, ' ', text);
    memcpy(npy + prefix, dict, strlen(dict));
    memcpy(npy + prefix + text, data, len);
    return prefix + text + len;
}

static inline struct codec_head none(void)
{
    return (struct codec_head){.length_bytes = -1};
}

#endif
