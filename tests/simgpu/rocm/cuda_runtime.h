/* cuda_runtime.h - what nccl.h asks of CUDA, in HIP's types. */
#include <hip/hip_runtime_api.h>
typedef hipStream_t cudaStream_t;
