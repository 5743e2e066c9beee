/* rccl.h - RCCL's header where there is none (Debian 12 has HIP and no RCCL): its interface is
 * NCCL's, with HIP's streams. For `make GPU=rocm` to compile the backend; nothing is linked with
 * it. */
#include <nccl.h>
