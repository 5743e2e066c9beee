/* http_tls.c - certificate and key from their files, for the daemon. */
#include "server/http_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PEM_BYTES (1u << 20) /* a chain of certificates has some KiB */

/* TLS 1.2 and later, and of these what GnuTLS calls normal. */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* The whole of a file as a text, malloc'd. */
static int read_text(const char *option, const char *path, bool secret, char **out, struct err *e)
{
    FILE *f = fopen(path, "re");
    char *text = malloc(PEM_BYTES);
    struct stat s;
    size_t n = 0;
    int rc = -1;

    if (!f)
        err_sys(e, ERR_option, errno, "%s %s", option, path);
    else if (!text)
        err_set(e, ERR_no_memory, "%s", option);
    else if (fstat(fileno(f), &s) != 0 || !S_ISREG(s.st_mode))
        err_set(e, ERR_option, "%s %s: it is no file", option, path);
    else if (secret && s.st_mode & (S_IRWXG | S_IRWXO))
        err_set(e, ERR_option, "%s %s: others may read or change it: chmod 600 it", option, path);
    else if ((n = fread(text, 1, PEM_BYTES, f)) == PEM_BYTES || ferror(f) ||
             memchr(text, '\0', n) || n == 0)
        err_set(e, ERR_option, "%s %s: it is no PEM", option, path);
    else
        rc = 0;
    if (rc == 0)
        text[n] = '\0';
    else
        free(text);
    if (f)
        fclose(f);
    if (rc == 0)
        *out = text;
    return rc;
}

int http_tls_read(const struct http_options *o, struct MHD_OptionItem out[HTTP_TLS_OPTIONS],
                  struct err *e)
{
    static const char priorities[] = PRIORITIES;
    char *cert, *key;

    out[0] = (struct MHD_OptionItem){.option = MHD_OPTION_END};
    if (!o->tls_cert || !o->tls_cert[0])
        return 0;
    if (read_text("--tls-cert", o->tls_cert, false, &cert, e) != 0)
        return -1;
    if (read_text("--tls-key", o->tls_key, true, &key, e) != 0) {
        free(cert);
        return -1;
    }
    out[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, cert};
    out[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, key};
    out[2] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)priorities};
    out[3] = (struct MHD_OptionItem){.option = MHD_OPTION_END};
    return 0;
}

void http_tls_free(struct MHD_OptionItem *tls)
{
    if (tls[0].option == MHD_OPTION_END)
        return;
    explicit_bzero(tls[1].ptr_value, strlen(tls[1].ptr_value));
    free(tls[0].ptr_value);
    free(tls[1].ptr_value);
}
