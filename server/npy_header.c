/* npy_header.c - the dict at the head of a .npy. */
#include "server/npy_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEYS "descr, fortran_order and shape"

int npy_check_magic(const uint8_t *bytes, size_t len, struct err *e)
{
    static const uint8_t magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

    if (len >= 2 && bytes[0] == 'P' && bytes[1] == 'K')
        return err_set(e, ERR_npy_bad_magic,
                       "this is a .npz archive; send one array with numpy.save");
    if (len >= 1 && bytes[0] == 0x80)
        return err_set(e, ERR_npy_bad_magic, "this is a pickle; send the array with numpy.save");
    if (len == 1 && bytes[0] == 'P')
        return 0; /* the next byte tells */
    if (memcmp(bytes, magic, len < sizeof magic ? len : sizeof magic) != 0)
        return err_set(e, ERR_npy_bad_magic,
                       "a .npy begins with \\x93NUMPY; write it with numpy.save");
    if (len >= 8 && (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0))
        return err_set(e, ERR_npy_version, "the .npy has version %u.%u; 1.0, 2.0 and 3.0 are known",
                       bytes[6], bytes[7]);
    return 0;
}

struct cursor {
    const char *at, *end;
    char descr[64];
    struct err *e;
};

static int bad(struct cursor *c, const char *what)
{
    return err_set(c->e, ERR_npy_header, "the header must be a dict of " KEYS ": %s", what);
}

static char peek(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t' || *c->at == '\r'))
        c->at++;
    return c->at < c->end ? *c->at : '\0';
}

static bool take(struct cursor *c, char want)
{
    if (peek(c) != want || c->at == c->end)
        return false;
    c->at++;
    return true;
}

/* A quoted string without escapes, as NumPy writes them. */
static int read_text(struct cursor *c, char *out, size_t cap)
{
    char quote = peek(c);
    size_t len = 0;

    if (quote != '\'' && quote != '"')
        return bad(c, "a string is expected");
    for (c->at++; c->at < c->end && *c->at != quote; c->at++) {
        if (len + 1 >= cap || *c->at == '\\' || *c->at < ' ')
            return bad(c, "a string is too long, has an escape or is not ASCII");
        out[len++] = *c->at;
    }
    if (c->at == c->end)
        return bad(c, "a string does not end");
    c->at++;
    out[len] = '\0';
    return 0;
}

static int unsupported(struct cursor *c, const char *descr)
{
    return err_set(c->e, ERR_dtype_unsupported, "the file's dtype is %s; there are: %s", descr,
                   dtype_names());
}

static int read_descr(struct cursor *c, struct npy_header *h)
{
    (void)h;
    return peek(c) == '[' ? unsupported(c, "a structure") : read_text(c, c->descr, sizeof c->descr);
}

/* Once the whole dict is known to be one. */
static int settle_descr(struct cursor *c, struct npy_header *h)
{
    const char *text = c->descr;
    char order = text[0];

    if (strcmp(text, "|V2") == 0) {
        h->void2 = true;
        h->dtype = DTYPE_uint16;
        return 0;
    }
    for (int d = 0; d < DTYPE_COUNT; d++) {
        bool one = dtypes[d].size_bytes == 1;

        if (!*dtypes[d].npy)
            continue;
        if (strcmp(text, dtypes[d].npy) == 0 ||
            (order == '=' && strcmp(text + 1, dtypes[d].npy) == 0))
            return err_set(c->e, ERR_npy_header,
                           "descr '%s' has no byte order; files say '<%s' or '>%s'", text,
                           dtypes[d].npy, dtypes[d].npy);
        if (strcmp(text + (order != '\0'), dtypes[d].npy) != 0 ||
            !(order == '<' || order == '>' || (order == '|' && one)))
            continue;
        h->dtype = (enum dtype)d;
        h->big_endian = order == '>';
        return 0;
    }
    return unsupported(c, text);
}

static int read_order(struct cursor *c, struct npy_header *h)
{
    char first = peek(c);
    const char *word = first == 'T' ? "True" : "False";
    size_t len = strlen(word);

    if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0)
        return bad(c, "fortran_order is True or False");
    c->at += len;
    h->fortran = first == 'T';
    return 0;
}

static int read_dim(struct cursor *c, struct shape *s)
{
    uint64_t dim = 0;

    if (peek(c) == '-')
        return err_set(c->e, ERR_shape_invalid, "the file's shape has a negative length");
    if (peek(c) < '0' || peek(c) > '9')
        return bad(c, "a shape is a tuple of integers");
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (__builtin_mul_overflow(dim, 10u, &dim) ||
            __builtin_add_overflow(dim, (uint64_t)(*c->at - '0'), &dim))
            return err_set(c->e, ERR_shape_too_large, "a length of the file's shape passes 2^64");
    }
    if (s->ndim == LIMIT_NDIM)
        return err_set(c->e, ERR_shape_invalid, "the file's shape has more than %d dimensions",
                       LIMIT_NDIM);
    s->dim[s->ndim++] = dim;
    return 0;
}

static int read_shape(struct cursor *c, struct npy_header *h)
{
    if (!take(c, '('))
        return bad(c, "a shape is a tuple of integers");
    while (!take(c, ')')) {
        if (read_dim(c, &h->shape) != 0)
            return -1;
        if (!take(c, ',')) {
            if (h->shape.ndim == 1) /* (3) is a number in Python, (3,) a tuple */
                return bad(c, "a shape of one axis is written (n,)");
            if (!take(c, ')'))
                return bad(c, "a comma or ) is expected in the shape");
            return 0;
        }
    }
    return 0;
}

int npy_header_read(const char *text, size_t len, struct npy_header *out, struct err *e)
{
    static const struct {
        const char *key;
        int (*read)(struct cursor *c, struct npy_header *h);
    } keys[] = {{"descr", read_descr}, {"fortran_order", read_order}, {"shape", read_shape}};
    struct cursor c = {.at = text, .end = text + len, .e = e};
    unsigned seen = 0;

    *out = (struct npy_header){0};
    if (!take(&c, '{'))
        return bad(&c, "it does not begin with {");
    while (!take(&c, '}')) {
        char key[32];
        unsigned k = 0;

        if (read_text(&c, key, sizeof key) != 0)
            return -1;
        while (k < 3 && strcmp(keys[k].key, key) != 0)
            k++;
        if (k == 3 || seen >> k & 1)
            return bad(&c, k == 3 ? "there is another key" : "a key is there twice");
        seen |= 1u << k;
        if (!take(&c, ':'))
            return bad(&c, "a colon is missing");
        if (keys[k].read(&c, out) != 0)
            return -1;
        if (!take(&c, ',') && peek(&c) != '}')
            return bad(&c, "a comma or } is missing");
    }
    if (seen != 7)
        return bad(&c, "a key is missing");
    if (peek(&c) != '\0' || c.at != c.end)
        return bad(&c, "something follows it");
    return settle_descr(&c, out);
}

size_t npy_header_write(enum dtype d, const struct shape *s, uint32_t stack, char *out)
{
    char dict[NPY_HEADER_TEXT];
    uint32_t ndim = s->ndim + (stack > 0);
    size_t at, total, len;

    at = (size_t)snprintf(dict, sizeof dict, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                          dtypes[d].size_bytes == 1 ? '|' : '<', dtypes[d].npy);
    if (stack > 0)
        at += (size_t)snprintf(dict + at, sizeof dict - at, "%u%s", stack, ndim > 1 ? ", " : "");
    for (uint32_t i = 0; i < s->ndim; i++)
        at += (size_t)snprintf(dict + at, sizeof dict - at, "%s%" PRIu64, i ? ", " : "", s->dim[i]);
    at += (size_t)snprintf(dict + at, sizeof dict - at, "%s), }", ndim == 1 ? "," : "");
    total = (10 + at + 1 + 63) / 64 * 64;
    len = total - 10;
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)(len & 0xff);
    out[9] = (char)(len >> 8);
    memcpy(out + 10, dict, at);
    memset(out + 10 + at, ' ', len - at - 1);
    out[total - 1] = '\n';
    return total;
}
