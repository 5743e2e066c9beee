/* malloc_fails.c - between the server and libc: the n-th allocation finds no memory.
 *
 * TUTTI_TEST_MALLOC names a file of two numbers that the test shares: how many allocations from now
 * the next failure is (0: none), and how many there were. Of tutti-server alone, whose workers
 * inherit the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static struct {
    _Atomic int64_t left, count;
} * shared;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("TUTTI_TEST_MALLOC");
    int fd = path && strcmp(program_invocation_short_name, "tutti-server") == 0
                 ? open(path, O_RDWR | O_CLOEXEC)
                 : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    if (page != MAP_FAILED)
        shared = page;
}

static int fails(void)
{
    int64_t left;

    if (!shared)
        return 0;
    atomic_fetch_add(&shared->count, 1);
    left = atomic_load(&shared->left);
    while (left > 0 && !atomic_compare_exchange_weak(&shared->left, &left, left - 1))
        ;
    if (left != 1)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n)
{
    return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return fails() ? NULL : __libc_realloc(p, n);
}
