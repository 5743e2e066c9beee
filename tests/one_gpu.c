/* one_gpu.c - for LD_PRELOAD: many ranks on one GPU, so that a machine with a single one can run
 * what takes several.
 *
 * The runtime says that there are TUTTI_TEST_GPUS GPUs, and each of them is the first. NCCL refuses
 * two ranks on one GPU of one host, so each process is a host of its own (NCCL_HOSTID; NCCL 2.28,
 * src/misc/utils.cc, getHostHash), and ranks meet by NCCL's sockets. That is slow, since kernels of
 * several processes take turns on a GPU, and NCCL does not promise it: it shows that what is asked
 * of the real runtime and the real NCCL is right, never how fast it is. */
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int pretended(void)
{
    const char *n = getenv("TUTTI_TEST_GPUS");

    return n ? atoi(n) : 1;
}

__attribute__((constructor)) static void be_a_host(void)
{
    char host[32];

    snprintf(host, sizeof host, "process-%d", (int)getpid());
    setenv("NCCL_HOSTID", host, 1);
}

cudaError_t CUDARTAPI cudaGetDeviceCount(int *count)
{
    cudaError_t rc = REAL(cudaGetDeviceCount)(count);

    if (rc == cudaSuccess && *count > 0)
        *count = pretended();
    return rc;
}

cudaError_t CUDARTAPI cudaSetDevice(int device)
{
    (void)device;
    return REAL(cudaSetDevice)(0);
}

cudaError_t CUDARTAPI cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    (void)device;
    return REAL(cudaGetDeviceProperties)(prop, 0);
}

cudaError_t CUDARTAPI cudaDeviceGetPCIBusId(char *id, int size, int device)
{
    (void)device;
    return REAL(cudaDeviceGetPCIBusId)(id, size, 0);
}
