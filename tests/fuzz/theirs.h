/* theirs.h - what jansson makes of a JSON text; its names and ours cannot be in one file. */
#ifndef TUTTI_TESTS_FUZZ_THEIRS_H
#define TUTTI_TESTS_FUZZ_THEIRS_H

#include <stdbool.h>
#include <stddef.h>

struct theirs {
    bool taken;
    bool overflows; /* refused for a number beyond what it holds */
    char kind;      /* of the document: o a s i r t f n */
    double real;    /* r */
    char *text;     /* s: malloc'd */
    size_t len;
    char why[160];
};

void theirs_read(const char *text, size_t len, struct theirs *out);
void theirs_fini(struct theirs *t);

#endif
