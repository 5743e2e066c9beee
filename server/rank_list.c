/* rank_list.c - ranks as text, runs of them together. */
#include "server/rank_list.h"

#include <stdio.h>
#include <string.h>

const char *rank_list(char *buf, size_t size, uint32_t n,
                      bool (*pick)(const void *arg, uint32_t rank), const void *arg)
{
    size_t len = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < n; i++) {
        char item[32];
        uint32_t last = i;
        size_t need;

        if (!pick(arg, i))
            continue;
        while (last + 1 < n && pick(arg, last + 1))
            last++;
        if (last < i + 2)
            last = i;
        snprintf(item, sizeof item, last > i ? "%s%u-%u" : "%s%u", len ? ", " : "", i, last);
        need = strlen(item);
        if (len + need + sizeof ", ..." > size) {
            snprintf(buf + len, size - len, len ? ", ..." : "...");
            break;
        }
        memcpy(buf + len, item, need + 1);
        len += need;
        i = last;
    }
    return buf;
}
