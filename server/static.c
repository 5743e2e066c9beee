/* static.c - files in the program: the assembler includes their bytes as they are. */
#include "server/static.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* A NUL after the last byte, which does not count, keeps the addresses of empty files apart. */
#define STATIC(name, route, file, type, sentence)                            \
    __asm__(".pushsection .rodata\n"                                         \
            ".balign 16\n"                                                   \
            "static_" #name ":\n.incbin \"" file "\"\n"                      \
            "static_" #name "_end:\n.byte 0\n"                               \
            ".popsection\n");                                                \
    extern const char static_##name[] __attribute__((visibility("hidden"))), \
        static_##name##_end[] __attribute__((visibility("hidden")));
#include "server/static.def"
#undef STATIC

static struct {
    struct static_file file;
    const char *end;
} files[] = {
#define STATIC(name, route, file, type, sentence) \
    {{route, type, static_##name, 0, ""}, static_##name##_end},
#include "server/static.def"
#undef STATIC
};

#define FILES (sizeof files / sizeof files[0])

void static_init(void)
{
    for (size_t i = 0; i < FILES; i++) {
        struct static_file *f = &files[i].file;

        f->len = (size_t)(files[i].end - (const char *)f->bytes);
        snprintf(f->etag, sizeof f->etag, "\"%016" PRIx64 "\"", XXH3_64bits(f->bytes, f->len));
    }
}

const struct static_file *static_find(const char *route)
{
    for (size_t i = 0; i < FILES; i++)
        if (strcmp(files[i].file.route, route) == 0)
            return &files[i].file;
    return NULL;
}
