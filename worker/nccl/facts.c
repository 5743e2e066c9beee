/* facts.c - what is known of a GPU: its name, its memory, the libraries that drive it. */
#include "worker/nccl/nccl_parts.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

uint32_t nccl_devices(void)
{
    int n = 0; /* left alone when there is no driver */

    return rtGetDeviceCount(&n) == rtSuccess && n > 0 ? (uint32_t)n : 0;
}

int nccl_find_number(const char *name, int *out, struct err *e)
{
    uint32_t devices = nccl_devices();

    if (sscanf(name, "gpu:%d", out) != 1)
        return err_set(e, ERR_option, "--backend nccl needs --device gpu:N, not %s", name);
    if (devices == 0)
        return err_set(e, ERR_option, "--device %s: no GPU, or no driver for it, is here", name);
    if (*out < 0 || (uint32_t)*out >= devices)
        return err_set(e, ERR_option, "--device %s: the GPUs here are 0 to %u", name, devices - 1);
    return 0;
}

/* The file that a loaded function came from. */
static void find_file(void *function, char *out, size_t size)
{
    Dl_info info;
    const char *path = dladdr(function, &info) && info.dli_fname ? info.dli_fname : "";

    snprintf(out, size, "%.*s", (int)size - 1, path);
}

/* 13000 is 13.0; 22809 is 2.28.9. */
static void find_versions(struct gpu_facts *f)
{
    int driver = 0, runtime = 0, nccl = 0;

    rtDriverGetVersion(&driver);
    rtRuntimeGetVersion(&runtime);
    ncclGetVersion(&nccl);
    snprintf(f->driver_version, sizeof f->driver_version, "%d.%d", driver / RT_MAJOR,
             driver % RT_MAJOR / RT_MINOR);
    snprintf(f->runtime_version, sizeof f->runtime_version, "%d.%d", runtime / RT_MAJOR,
             runtime % RT_MAJOR / RT_MINOR);
    snprintf(f->nccl_version, sizeof f->nccl_version, "%d.%d.%d", nccl / 10000, nccl / 100 % 100,
             nccl % 100);
}

/* As nvidia-smi prints it. */
static void write_uuid(const uint8_t *b, char *out, size_t size)
{
    snprintf(out, size, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}

int nccl_describe(const char *device, struct gpu_facts *out, struct err *e)
{
    struct rtDeviceProp prop;
    uint8_t uuid[16] = {0};
    rtError_t rc;
    int number;

    *out = (struct gpu_facts){0};
    if (nccl_find_number(device, &number, e) != 0)
        return -1;
    rc = rtGetDeviceProperties(&prop, number);
    if (rc == rtSuccess)
        rc = rtDeviceGetPCIBusId(out->pci_id, sizeof out->pci_id, number);
    if (rc == rtSuccess)
        rc = rt_uuid(number, uuid);
    if (rc != rtSuccess)
        return nccl_cuda_failed(e, device, rc);
    snprintf(out->name, sizeof out->name, "%.63s", prop.name);
    out->memory_bytes = prop.totalGlobalMem;
    write_uuid(uuid, out->uuid, sizeof out->uuid);
    find_versions(out);
    find_file((void *)rtGetDeviceCount, out->runtime_path, sizeof out->runtime_path);
    find_file((void *)ncclGetVersion, out->nccl_path, sizeof out->nccl_path);
    out->simulated = dlsym(RTLD_DEFAULT, "simgpu_marker") != NULL;
    return 0;
}
