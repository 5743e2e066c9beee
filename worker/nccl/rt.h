/* rt.h - the GPU runtime by names that are no vendor's: the few calls and constants that are used.
 *
 * CUDA and NCCL; with TUTTI_ROCM HIP and RCCL, whose calls have the same meaning and whose
 * communicators have the same names. Only worker/nccl/ includes it. Source of the pairs: AMD's HIP
 * porting guide.
 */
#ifndef TUTTI_WORKER_NCCL_RT_H
#define TUTTI_WORKER_NCCL_RT_H

#include <stdint.h>
#include <string.h>

#ifdef TUTTI_ROCM
#include <hip/hip_runtime_api.h>
#include <rccl/rccl.h>
#define RT(name) hip##name
#define rtDeviceProp hipDeviceProp_t
#define RT_MAJOR 10000000 /* of a version number */
#define RT_MINOR 100000
#else
#include <cuda_runtime_api.h>
#include <nccl.h>
#define RT(name) cuda##name
#define rtDeviceProp cudaDeviceProp
#define RT_MAJOR 1000 /* of a version number */
#define RT_MINOR 10
#endif

#define rtDeviceGetPCIBusId RT(DeviceGetPCIBusId)
#define rtDeviceToDevice RT(MemcpyDeviceToDevice)
#define rtDeviceToHost RT(MemcpyDeviceToHost)
#define rtDisableTiming RT(EventDisableTiming)
#define rtDriverGetVersion RT(DriverGetVersion)
#define rtErrorMemoryAllocation RT(ErrorMemoryAllocation)
#define rtErrorNotReady RT(ErrorNotReady)
#define rtError_t RT(Error_t)
#define rtEventCreate RT(EventCreateWithFlags)
#define rtEventDestroy RT(EventDestroy)
#define rtEventQuery RT(EventQuery)
#define rtEventRecord RT(EventRecord)
#define rtEvent_t RT(Event_t)
#define rtFree RT(Free)
#define rtGetDeviceCount RT(GetDeviceCount)
#define rtGetDeviceProperties RT(GetDeviceProperties)
#define rtGetErrorString RT(GetErrorString)
#define rtGetLastError RT(GetLastError)
#define rtHostRegister(p, n) RT(HostRegister)(p, n, RT(HostRegisterDefault))
#define rtHostToDevice RT(MemcpyHostToDevice)
#define rtHostUnregister RT(HostUnregister)
#define rtMalloc RT(Malloc)
#define rtMemcpy2DAsync RT(Memcpy2DAsync)
#define rtMemcpyAsync RT(MemcpyAsync)
#define rtMemcpyKind RT(MemcpyKind)
#define rtNonBlocking RT(StreamNonBlocking)
#define rtRuntimeGetVersion RT(RuntimeGetVersion)
#define rtSetDevice RT(SetDevice)
#define rtStreamCreate RT(StreamCreateWithFlags)
#define rtStreamDestroy RT(StreamDestroy)
#define rtStreamSynchronize RT(StreamSynchronize)
#define rtStreamWaitEvent RT(StreamWaitEvent)
#define rtStream_t RT(Stream_t)
#define rtSuccess RT(Success)

/* The 16 bytes that name a device for ever. */
static inline rtError_t rt_uuid(int device, uint8_t out[16])
{
#ifdef TUTTI_ROCM
    hipUUID uuid;
    hipDevice_t handle;
    rtError_t rc = hipDeviceGet(&handle, device);

    if (rc == rtSuccess)
        rc = hipDeviceGetUuid(&uuid, handle);
    if (rc == rtSuccess)
        memcpy(out, uuid.bytes, sizeof uuid.bytes);
#else
    struct cudaDeviceProp prop;
    rtError_t rc = cudaGetDeviceProperties(&prop, device);

    if (rc == rtSuccess)
        memcpy(out, prop.uuid.bytes, sizeof prop.uuid.bytes);
#endif
    return rc;
}

#endif
