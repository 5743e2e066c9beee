/* json_text.h - letters of JSON, for whoever checks or walks it. Pure. */
#ifndef TUTTI_SERVER_JSON_TEXT_H
#define TUTTI_SERVER_JSON_TEXT_H

#include <stdbool.h>

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The number that four hexadecimal digits are, or -1. */
static inline int hex4(const char *p, const char *end)
{
    int value = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

#endif
