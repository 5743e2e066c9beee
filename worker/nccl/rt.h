/* rt.h - the GPU runtime by names that are no vendor's: the few calls and constants that are used.
 *
 * Only worker/nccl/ includes it.
 */
#ifndef TUTTI_WORKER_NCCL_RT_H
#define TUTTI_WORKER_NCCL_RT_H

#include <cuda_runtime_api.h>
#include <nccl.h>
#define rtDisableTiming cudaEventDisableTiming
#define rtErrorNotReady cudaErrorNotReady
#define rtError_t cudaError_t
#define rtEventCreate cudaEventCreateWithFlags
#define rtEventDestroy cudaEventDestroy
#define rtEventQuery cudaEventQuery
#define rtEventRecord cudaEventRecord
#define rtEvent_t cudaEvent_t
#define rtFree cudaFree
#define rtGetDeviceCount cudaGetDeviceCount
#define rtGetErrorString cudaGetErrorString
#define rtHostRegister(p, n) cudaHostRegister(p, n, cudaHostRegisterDefault)
#define rtHostUnregister cudaHostUnregister
#define rtMalloc cudaMalloc
#define rtMemcpy2DAsync cudaMemcpy2DAsync
#define rtMemcpyAsync cudaMemcpyAsync
#define rtMemcpyKind cudaMemcpyKind
#define rtDeviceToHost cudaMemcpyDeviceToHost
#define rtHostToDevice cudaMemcpyHostToDevice
#define rtNonBlocking cudaStreamNonBlocking
#define rtSetDevice cudaSetDevice
#define rtStreamCreate cudaStreamCreateWithFlags
#define rtStreamDestroy cudaStreamDestroy
#define rtStreamSynchronize cudaStreamSynchronize
#define rtStreamWaitEvent cudaStreamWaitEvent
#define rtStream_t cudaStream_t
#define rtSuccess cudaSuccess

#endif
