/* prepare.c - the heap, the descriptors and the signals of the server's process. */
#include "server/prepare.h"
#include "schema/failpoint.h"

#include <malloc.h>
#include <stddef.h>
#include <sys/resource.h>

#define DESCRIPTORS_MAX 65536

/* Every connection and every worker takes descriptors. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void prepare_process(const sigset_t *signals)
{
    failpoint_init();
    mallopt(M_MMAP_THRESHOLD, 128 << 10); /* fixed: a large body goes back to the system */
    mallopt(M_ARENA_MAX,
            2); /* glibc's default, 8 a core, only fragments: our threads malloc little */
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, signals, NULL); /* and so in every thread */
    raise_descriptor_limit();
}
