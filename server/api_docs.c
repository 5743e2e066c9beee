/* api_docs.c - a page for each error: what it is, what to do, and a command that shows it. The text
 * is web/errors.md, a section a code; status and title are the table's. */
#include "server/api.h"
#include "server/static.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HTML "text/html; charset=utf-8"
#define MARKDOWN "text/markdown; charset=utf-8"

/* A piece of the text. */
struct span {
    const char *at, *end;
};

/* The line that begins at *from, without its end; *from is then the next one's begin. */
static struct span take_line(struct span *from)
{
    const char *end = memchr(from->at, '\n', (size_t)(from->end - from->at));
    struct span line = {from->at, end ? end : from->end};

    from->at = end ? end + 1 : from->end;
    return line;
}

static bool is_heading(struct span line)
{
    return line.end - line.at > 3 && memcmp(line.at, "## ", 3) == 0;
}

/* What stands below "## CODE", up to the next heading. */
static struct span section(const char *code)
{
    const struct static_file *f = static_find("/docs/errors.md");
    struct span rest = {f->bytes, (const char *)f->bytes + f->len}, found = {0};
    size_t len = strlen(code);

    while (rest.at < rest.end) {
        struct span line = take_line(&rest);

        if (!is_heading(line))
            continue;
        if (found.at) {
            found.end = line.at;
            return found;
        }
        if ((size_t)(line.end - line.at) == len + 3 && memcmp(line.at + 3, code, len) == 0)
            found = (struct span){rest.at, rest.end};
    }
    return found;
}

/* ---- Markdown's little that the text uses, as HTML ---- */

static void escaped(struct text *t, struct span s)
{
    for (; s.at < s.end; s.at++) {
        if (*s.at == '<')
            text_raw(t, "&lt;", 4);
        else if (*s.at == '>')
            text_raw(t, "&gt;", 4);
        else if (*s.at == '&')
            text_raw(t, "&amp;", 5);
        else if (*s.at == '"')
            text_raw(t, "&quot;", 6);
        else
            text_raw(t, s.at, 1);
    }
}

/* `code` and **words**, which do not lie in each other. */
static void line_write(struct text *t, struct span line)
{
    bool code = false, strong = false;

    for (; line.at < line.end; line.at++) {
        if (*line.at == '`') {
            code = !code;
            text_format(t, code ? "<code>" : "</code>");
        } else if (!code && line.end - line.at > 1 && memcmp(line.at, "**", 2) == 0) {
            strong = !strong;
            text_format(t, strong ? "<strong>" : "</strong>");
            line.at++;
        } else {
            escaped(t, (struct span){line.at, line.at + 1});
        }
    }
    text_raw(t, "\n", 1);
}

/* Paragraphs, and, four spaces in, commands. */
static void body_write(struct text *t, struct span rest)
{
    static const char *const opens[] = {"", "<p>", "<pre tabindex=\"0\"><code>"};
    static const char *const closes[] = {"", "</p>\n", "</code></pre>\n"};
    enum { BETWEEN, PARAGRAPH, COMMANDS } in = BETWEEN, next;

    while (rest.at < rest.end) {
        struct span line = take_line(&rest);
        bool indented = line.end - line.at > 4 && memcmp(line.at, "    ", 4) == 0;

        next = line.at == line.end ? BETWEEN : indented ? COMMANDS : PARAGRAPH;
        if (next != in)
            text_format(t, "%s%s", closes[in], opens[next]);
        in = next;
        if (in == PARAGRAPH)
            line_write(t, line);
        else if (in == COMMANDS)
            escaped(t, (struct span){line.at + 4, line.end + (line.end < rest.end)});
    }
    text_format(t, "%s", closes[in]);
}

/* up: how the page leads to where the service is. */
static void page_begin(struct text *t, const char *title, const char *up)
{
    text_format(t,
                "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                "<title>%s - tutti</title>\n"
                "<link rel=\"icon\" href=\"%sui/icon.svg\" type=\"image/svg+xml\">\n"
                "<link rel=\"stylesheet\" href=\"%sui/docs.css\">\n"
                "<nav><a href=\"%s.\">tutti</a> <a href=\"%sdocs\">API</a> "
                "<a href=\"%sdocs/errors\">Errors</a></nav>\n<main class=\"page\">\n",
                title, up, up, up[0] ? up : "./", up, up);
}

/* Who asks for text gets it as it was written. */
static bool wants_text(const struct request *rq)
{
    const char *accept = request_header(rq, "Accept");

    return accept && !strstr(accept, "text/html") &&
           (strstr(accept, "text/plain") || strstr(accept, "text/markdown"));
}

/* As long as the server is the same, so is the page; after an upgrade it is asked for again. */
static int page_reply(struct request *rq, const char *type)
{
    reply_header(rq, "Cache-Control", "no-cache");
    reply_header(rq, "Vary", "Accept");
    return reply_text(rq, 200, type);
}

int api_error_page(struct request *rq, struct err *e)
{
    struct text *t = &rq->reply.text;
    const char *name = rq->args[0];
    enum err_code code = err_find(name);
    struct span body;

    if (code == ERR_none || strcmp(err_name(code), name) != 0)
        return err_set(e, ERR_not_found,
                       "there is no error of this name; /docs/errors has them all");
    body = section(name);
    if (wants_text(rq)) {
        text_format(t, "# %s\n\n%d: %s\n", name, err_status(code), err_title(code));
        text_raw(t, body.at, (size_t)(body.end - body.at));
        return page_reply(rq, MARKDOWN);
    }
    page_begin(t, name, "../../");
    text_format(t, "<h1>%s</h1>\n<p><code>%s</code>, status %d</p>\n", err_title(code), name,
                err_status(code));
    body_write(t, body);
    text_format(t, "</main>\n</html>\n");
    return page_reply(rq, HTML);
}

static int by_status_and_name(const void *a, const void *b)
{
    enum err_code x = *(const enum err_code *)a, y = *(const enum err_code *)b;
    int order = err_status(x) - err_status(y);

    return order ? order : strcmp(err_name(x), err_name(y));
}

/* A reader has one or the other in hand. */
static void list_write(struct text *t)
{
    enum err_code code[ERR_COUNT];
    size_t n = 0;

    for (int c = ERR_none + 1; c < ERR_COUNT; c++)
        code[n++] = (enum err_code)c;
    qsort(code, n, sizeof code[0], by_status_and_name);
    for (size_t i = 0; i < n; i++)
        text_format(t, "<tr><td>%d<td><a href=\"errors/%s\">%s</a><td>%s\n", err_status(code[i]),
                    err_name(code[i]), err_name(code[i]), err_title(code[i]));
}

int api_error_list(struct request *rq, struct err *e)
{
    struct text *t = &rq->reply.text;

    (void)e;
    page_begin(t, "Errors", "../");
    text_format(
        t, "<h1>Errors</h1>\n"
           "<p>What goes wrong comes back as <code>application/problem+json</code> (RFC 9457): "
           "<code>code</code> is one of these, and stays what it is; <code>detail</code> says "
           "what to change.</p>\n"
           "<table>\n<tr><th scope=\"col\">Status<th scope=\"col\">Code<th scope=\"col\">"
           "Title\n");
    list_write(t);
    text_format(t, "</table>\n</main>\n</html>\n");
    return page_reply(rq, HTML);
}
