/* fuzz_safetensors.c - bodies of safetensors: what is known before, then the body. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return fuzz_codec(FORMAT_safetensors, data, len);
}
