/* replay.c - runs a harness over files and directories of them: the ordinary test suite, without a
 * fuzzing engine. Names the input that an end by a signal is owed to. */
#include "tests/fuzz/fuzz.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_MAX (8u << 20)

static char now[512];
static unsigned long ran;

static void on_signal(int sig)
{
    static const char say[] = "\nreplay: the input is ";
    ssize_t n = write(STDERR_FILENO, say, sizeof say - 1);

    n += write(STDERR_FILENO, now, strlen(now));
    n += write(STDERR_FILENO, "\n", 1);
    signal(sig, SIG_DFL);
    raise(sig);
    _exit(n > 0 ? 1 : 2);
}

static int one(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    FILE *f;
    uint8_t *bytes;

    (void)at;
    if (kind != FTW_F)
        return 0;
    f = s->st_size <= INPUT_MAX ? fopen(path, "rb") : NULL;
    bytes = malloc((size_t)s->st_size);
    if (!f || (!bytes && s->st_size > 0) ||
        fread(bytes, 1, (size_t)s->st_size, f) != (size_t)s->st_size) {
        fprintf(stderr, "replay: cannot read %s\n", path);
        exit(2);
    }
    fclose(f);
    snprintf(now, sizeof now, "%s", path);
    LLVMFuzzerTestOneInput(bytes, (size_t)s->st_size);
    ran++;
    free(bytes);
    return 0;
}

int main(int argc, char *argv[])
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], on_signal);
    for (int i = 1; i < argc; i++) {
        if (nftw(argv[i], one, 16, FTW_PHYS) != 0) {
            fprintf(stderr, "replay: no %s\n", argv[i]);
            return 2;
        }
    }
    printf("%lu inputs\n", ran);
    return ran == 0; /* a test without an input tests nothing */
}
