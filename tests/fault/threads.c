/* threads.c - preloaded: the n-th pthread_create of a program fails, as it does when no more
 * threads are to be had. TUTTI_TEST_THREADS is "PROGRAM:N". */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *), void *arg)
{
    static atomic_int count;
    const char *text = getenv("TUTTI_TEST_THREADS"), *colon = text ? strrchr(text, ':') : NULL;
    size_t len = strlen(program_invocation_short_name);
    create_fn *real;

    if (colon && (size_t)(colon - text) == len &&
        memcmp(text, program_invocation_short_name, len) == 0 &&
        atomic_fetch_add(&count, 1) + 1 == atoi(colon + 1))
        return EAGAIN;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attr, main, arg);
}
