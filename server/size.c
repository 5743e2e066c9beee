/* size.c - bytes as people write them. */
#include "server/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int size_read(uint64_t *out, const char *text, struct err *e)
{
    static const char units[] = "KMGT";
    char *end;
    uint64_t bytes;
    unsigned shift = 0;

    errno = 0;
    bytes = strtoull(text, &end, 10);
    if (*end) {
        const char *unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);

        if (unit && end[1] == '\0')
            shift = 10 * (unsigned)(unit - units + 1);
        else
            errno = EINVAL;
    }
    if (*text < '0' || *text > '9' || errno != 0 || bytes > (uint64_t)INT64_MAX >> shift)
        return err_set(e, ERR_option, "\"%.60s\" is no size: write it as 512M or 4G", text);
    bytes <<= shift;
    *out = bytes;
    return 0;
}
