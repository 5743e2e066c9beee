/* bare_mhd.c - the least that libmicrohttpd can do: small answers, uploads and downloads of large
 * bodies, with the service's own flags, as the measure for the service.
 *
 *   bare_mhd BYTES    prints its port, serves until its standard input ends
 *
 *   GET  /small       a short JSON document
 *   POST /small       the same, after a short body was read
 *   PUT  /copy        the body is copied into a buffer of BYTES that lies ready; 204
 *   PUT  /discard     the body is read and forgotten; 204
 *   GET  /bytes/N     the first N bytes of the buffer
 */
#include <microhttpd.h>

#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define POOL_THREADS 2
#define CONNECTION_MEMORY_BYTES (128u << 10)
#define CONNECTIONS 256
#define STACK_BYTES (1u << 20)

static const char small[] =
    "{\"id\":\"j_01JDDB5T0Z6R3V8QX1M4KCNE7H\",\"op\":\"all_reduce_sum\",\"state\":\"succeeded\"}";

static struct {
    uint8_t *bytes;
    size_t size;
} buffer;

/* What is known of a request between the calls for it. */
struct upload {
    size_t at;
};

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const void *bytes,
                              size_t size)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes,
                                                             MHD_RESPMEM_PERSISTENT);
    enum MHD_Result done;

    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    done = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return done;
}

static enum MHD_Result answer_get(struct MHD_Connection *c, const char *url)
{
    size_t n;

    if (strcmp(url, "/small") == 0)
        return answer(c, MHD_HTTP_OK, small, sizeof small - 1);
    if (strncmp(url, "/bytes/", 7) != 0)
        return answer(c, MHD_HTTP_NOT_FOUND, "", 0);
    n = strtoull(url + 7, NULL, 10);
    return answer(c, MHD_HTTP_OK, buffer.bytes, n < buffer.size ? n : buffer.size);
}

/* NOLINTNEXTLINE: the parameters are libmicrohttpd's. */
static enum MHD_Result handle(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *body,
                              size_t *body_size, void **state)
{
    struct upload *u = *state;

    (void)arg;
    (void)version;
    if (!u) {
        *state = u = calloc(1, sizeof *u);
        return u ? MHD_YES : MHD_NO;
    }
    if (*body_size > 0) {
        if (strcmp(url, "/copy") == 0) {
            size_t n = *body_size < buffer.size - u->at ? *body_size : buffer.size - u->at;

            memcpy(buffer.bytes + u->at, body, n);
            u->at += n;
        }
        *body_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, "PUT") == 0)
        return answer(c, MHD_HTTP_NO_CONTENT, "", 0);
    if (strcmp(method, "POST") == 0)
        return answer(c, MHD_HTTP_OK, small, sizeof small - 1);
    return answer_get(c, url);
}

static void ended(void *arg, struct MHD_Connection *c, void **state,
                  enum MHD_RequestTerminationCode why)
{
    (void)arg;
    (void)c;
    (void)why;
    free(*state);
    *state = NULL;
}

/* Shared memory whose pages are there, as the service's arena is. */
static int buffer_open(size_t size)
{
    int fd = memfd_create("bare", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        return -1;
    buffer.bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    buffer.size = size;
    close(fd);
    return buffer.bytes == MAP_FAILED ? -1 : 0;
}

int main(int argc, char *argv[])
{
    size_t size = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const union MHD_DaemonInfo *info;
    struct MHD_Daemon *d;

    if (size == 0 || buffer_open(size) != 0) {
        fprintf(stderr, "usage: bare_mhd BYTES\n");
        return 1;
    }
    memset(buffer.bytes, 1, size);
    d = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME, 0,
                         NULL, NULL, handle, NULL, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&at,
                         MHD_OPTION_THREAD_POOL_SIZE, (unsigned)POOL_THREADS,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
                         MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
                         MHD_OPTION_NOTIFY_COMPLETED, ended, NULL, MHD_OPTION_END);
    if (!d) {
        fprintf(stderr, "bare_mhd: libmicrohttpd does not start\n");
        return 1;
    }
    info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT);
    printf("%u\n", (unsigned)info->port);
    fflush(stdout);
    while (read(STDIN_FILENO, &(char){0}, 1) > 0)
        ;
    MHD_stop_daemon(d);
    return 0;
}
