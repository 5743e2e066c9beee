/* load.c - an HTTP/1.1 client that costs little: N keep-alive connections, M requests of one kind,
 * every answer checked, latencies counted. One thread.
 *
 *   load [option]... HOST PORT METHOD PATH    HOST may be the path of a Unix socket, with PORT 0
 *     -c N        connections (1)
 *     -n M        requests in all (1)
 *     -H 'A: b'   a header; may be repeated
 *     -b FILE     the body of every request
 *     -s STATUS   of a right answer (200)
 *     -e TEXT     that a right answer holds; may be repeated
 *     -f FILE     that a right answer is, byte by byte
 *     -t SECONDS  limit for all of it (120)
 *
 * Prints one line of JSON. Exits with 1 when an answer was wrong, with the first one on stderr.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096
#define HEADERS_MAX 16
#define EXPECTS_MAX 8
#define BUFFER_BYTES \
    (256u << 10) /* of one connection: a whole small answer, or a piece of a large one */
#define HEAD_BYTES 8192
#define UNIX_SEND_BYTES (1 << 20)

struct file {
    const char *bytes;
    size_t size;
};

struct connection {
    int fd;
    size_t sent;       /* of head and body */
    size_t got;        /* bytes in buffer */
    bool in_body;      /* the answer's head has come */
    uint64_t length;   /* of the answer's body */
    uint64_t body_got; /* of it */
    uint64_t begun_ns;
    char *buffer;
};

static struct {
    unsigned connections, requests, status;
    const char *headers[HEADERS_MAX], *expects[EXPECTS_MAX];
    unsigned n_headers, n_expects;
    const char *body_path, *same_path;
    unsigned limit_s;
    const char *host, *port, *method, *path;
} options = {.connections = 1, .requests = 1, .status = 200, .limit_s = 120};

static struct {
    char head[HEAD_BYTES];
    size_t head_size;
    struct file body, same;
    unsigned begun, ended;
    uint64_t *took_ns;
    uint64_t received;
} run;

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void __attribute__((noreturn)) wrong(const char *what, const char *bytes, size_t n)
{
    fprintf(stderr, "load: %s after %u answers: %.*s\n", what, run.ended,
            (int)(n < 2000 ? n : 2000), bytes);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct file map_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat s;
    struct file f;

    if (fd < 0 || fstat(fd, &s) != 0)
        die(path);
    f.size = (size_t)s.st_size;
    f.bytes = f.size ? mmap(NULL, f.size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0) : "";
    if (f.bytes == MAP_FAILED)
        die(path);
    close(fd);
    return f;
}

static void make_head(void)
{
    int n = snprintf(run.head, sizeof run.head, "%s %s HTTP/1.1\r\nHost: %s:%s\r\n", options.method,
                     options.path, options.host[0] == '/' ? "localhost" : options.host,
                     options.port);

    for (unsigned i = 0; i < options.n_headers && n < HEAD_BYTES; i++)
        n += snprintf(run.head + n, sizeof run.head - (size_t)n, "%s\r\n", options.headers[i]);
    if (options.body_path && n < HEAD_BYTES)
        n += snprintf(run.head + n, sizeof run.head - (size_t)n, "Content-Length: %zu\r\n",
                      run.body.size);
    if (n < HEAD_BYTES)
        n += snprintf(run.head + n, sizeof run.head - (size_t)n, "\r\n");
    if (n >= HEAD_BYTES)
        die("the headers are too long");
    run.head_size = (size_t)n;
}

static int connect_unix(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(options.host) >= sizeof at.sun_path)
        die("the socket's path is too long");
    strcpy(at.sun_path, options.host);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0)
        die("connect");
    /* As the notebook client has it. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){UNIX_SEND_BYTES}, sizeof(int));
    return fd;
}

static int connect_tcp(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(options.port))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (inet_pton(AF_INET, options.host, &at.sin_addr) != 1)
        die(options.host);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

static void connect_one(struct connection *c, int poll)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};

    c->fd = options.host[0] == '/' ? connect_unix() : connect_tcp();
    c->buffer = malloc(BUFFER_BYTES);
    if (!c->buffer)
        die("memory");
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        die("epoll");
}

/* Sends what is left of the request, as far as the socket takes it. */
static void send_more(struct connection *c)
{
    size_t total = run.head_size + run.body.size;

    while (c->sent < total) {
        struct iovec parts[2];
        struct msghdr m = {.msg_iov = parts};
        size_t in_body = c->sent > run.head_size ? c->sent - run.head_size : 0;
        ssize_t n;

        if (c->sent < run.head_size)
            parts[m.msg_iovlen++] = (struct iovec){run.head + c->sent, run.head_size - c->sent};
        if (run.body.size > in_body)
            parts[m.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)(run.body.bytes + in_body),
                                                   run.body.size - in_body};
        n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            die("send");
        c->sent += (size_t)n;
    }
}

static void begin(struct connection *c)
{
    if (run.begun == options.requests)
        return;
    run.begun++;
    c->sent = c->got = 0;
    c->in_body = false;
    c->body_got = 0;
    c->begun_ns = now_ns();
    send_more(c);
}

/* The answer's head, once it is there: its status and length. */
static void read_head(struct connection *c)
{
    char *end = memmem(c->buffer, c->got, "\r\n\r\n", 4), *line;
    unsigned status = 0;

    if (!end && c->got == BUFFER_BYTES)
        wrong("an endless head", c->buffer, c->got);
    if (!end)
        return;
    *end = '\0';
    if (sscanf(c->buffer, "HTTP/1.1 %u", &status) != 1 || status != options.status)
        wrong("a wrong status", c->buffer, c->got);
    c->length = 0;
    line = strcasestr(c->buffer, "\r\ncontent-length:");
    if (line)
        c->length = strtoull(line + 17, NULL, 10);
    else if (status != 204)
        wrong("an answer without length", c->buffer, c->got);
    c->in_body = true;
    c->got -= (size_t)(end + 4 - c->buffer);
    memmove(c->buffer, end + 4, c->got);
}

/* Looks at what came of the body. A small one stays in the buffer until it is whole. */
static void read_body(struct connection *c)
{
    if (run.same.bytes) {
        if (c->length != run.same.size || c->body_got + c->got > c->length ||
            memcmp(run.same.bytes + c->body_got, c->buffer, c->got) != 0)
            wrong("a wrong answer", c->buffer, c->got);
    }
    if (run.same.bytes || c->length > BUFFER_BYTES - 1) {
        c->body_got += c->got;
        c->got = 0;
        return;
    }
    if (c->got < c->length)
        return;
    c->buffer[c->got] = '\0';
    for (unsigned i = 0; i < options.n_expects; i++) {
        if (!strstr(c->buffer, options.expects[i]))
            wrong("a wrong answer", c->buffer, c->got);
    }
    c->body_got = c->got;
}

static void receive(struct connection *c)
{
    while (c->sent == run.head_size + run.body.size && c->begun_ns) {
        ssize_t n = recv(c->fd, c->buffer + c->got, BUFFER_BYTES - 1 - c->got, 0);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            wrong("the connection ended", "", 0);
        c->got += (size_t)n;
        run.received += (uint64_t)n;
        if (!c->in_body)
            read_head(c);
        if (c->in_body)
            read_body(c);
        if (c->in_body && c->body_got == c->length) {
            run.took_ns[run.ended++] = now_ns() - c->begun_ns;
            c->begun_ns = 0;
            begin(c);
        }
    }
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static double quantile_us(double q)
{
    return (double)run.took_ns[(size_t)(q * (run.ended - 1))] / 1e3;
}

static void report(double seconds)
{
    double sent = (double)run.ended * (double)(run.head_size + run.body.size);

    qsort(run.took_ns, run.ended, sizeof *run.took_ns, compare);
    printf("{\"requests\":%u,\"connections\":%u,\"seconds\":%.6f,\"per_s\":%.1f,\"p50_us\":%.1f,"
           "\"p99_us\":%.1f,"
           "\"max_us\":%.1f,\"sent_bytes\":%.0f,\"received_bytes\":%llu,\"GBps\":%.4f}\n",
           run.ended, options.connections, seconds, run.ended / seconds, quantile_us(0.5),
           quantile_us(0.99), quantile_us(1), sent, (unsigned long long)run.received,
           (sent + (double)run.received) / seconds / 1e9);
}

static void read_options(int argc, char *argv[])
{
    int o;

    while ((o = getopt(argc, argv, "c:n:H:b:s:e:f:t:")) != -1) {
        if (o == 'c')
            options.connections = (unsigned)atoi(optarg);
        else if (o == 'n')
            options.requests = (unsigned)atoi(optarg);
        else if (o == 'H' && options.n_headers < HEADERS_MAX)
            options.headers[options.n_headers++] = optarg;
        else if (o == 'b')
            options.body_path = optarg;
        else if (o == 's')
            options.status = (unsigned)atoi(optarg);
        else if (o == 'e' && options.n_expects < EXPECTS_MAX)
            options.expects[options.n_expects++] = optarg;
        else if (o == 'f')
            options.same_path = optarg;
        else if (o == 't')
            options.limit_s = (unsigned)atoi(optarg);
        else
            exit(2);
    }
    if (argc - optind != 4 || options.requests < 1 || options.connections < 1 ||
        options.connections > CONNECTIONS_MAX) {
        fprintf(stderr, "usage: load [option]... HOST PORT METHOD PATH\n");
        exit(2);
    }
    options.host = argv[optind];
    options.port = argv[optind + 1];
    options.method = argv[optind + 2];
    options.path = argv[optind + 3];
}

static void prepare(void)
{
    if (options.body_path)
        run.body = map_file(options.body_path);
    if (options.same_path)
        run.same = map_file(options.same_path);
    run.took_ns = calloc(options.requests, sizeof *run.took_ns);
    if (!run.took_ns)
        die("memory");
    make_head();
}

int main(int argc, char *argv[])
{
    static struct connection all[CONNECTIONS_MAX];
    struct epoll_event events[64];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t begun;

    read_options(argc, argv);
    prepare();
    for (unsigned i = 0; i < options.connections; i++)
        connect_one(&all[i], poll);
    begun = now_ns();
    for (unsigned i = 0; i < options.connections; i++)
        begin(&all[i]);
    while (run.ended < options.requests) {
        int n = epoll_wait(poll, events, 64, 1000);

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        if (now_ns() - begun > options.limit_s * 1000000000ull)
            wrong("too slow", "", 0);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (c->begun_ns)
                send_more(c);
            receive(c);
        }
    }
    report((double)(now_ns() - begun) / 1e9);
    return 0;
}
