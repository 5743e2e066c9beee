/* dtype.c - the rows of dtypes.def and the search by name or alias. */
#include "schema/dtype.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

const struct dtype_row dtypes[DTYPE_COUNT] = {
#define DTYPE(name, bytes, class, npy, st, aliases) \
    [DTYPE_##name] = {#name, bytes, CLASS_##class, npy, st, aliases},
#include "schema/dtypes.def"
#undef DTYPE
};

static bool same(const char *text, size_t len, const char *word, size_t word_len)
{
    return len == word_len && strncasecmp(text, word, len) == 0;
}

static bool among(const char *text, size_t len, const char *words)
{
    while (*words) {
        size_t n = strcspn(words, " ");

        if (same(text, len, words, n))
            return true;
        words += n + (words[n] == ' ');
    }
    return false;
}

int dtype_find(const char *text, size_t len, enum dtype *out)
{
    static const char torch[] = "torch.";

    if (len > sizeof torch - 1 && strncasecmp(text, torch, sizeof torch - 1) == 0) {
        text += sizeof torch - 1;
        len -= sizeof torch - 1;
    }
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (same(text, len, dtypes[i].name, strlen(dtypes[i].name)) ||
            among(text, len, dtypes[i].aliases)) {
            *out = (enum dtype)i;
            return 0;
        }
    }
    return -1;
}

const char *dtype_names(void)
{
    return ""
#define DTYPE(name, bytes, class, npy, st, aliases) #name " "
#include "schema/dtypes.def"
#undef DTYPE
        ;
}
