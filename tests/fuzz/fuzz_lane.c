/* fuzz_lane.c - a line of the lane: whatever a client writes is one thing to do, or has a reason.
 */
#include "tests/fuzz/fuzz.h"

#include "server/lane_line.h"

#include <stdlib.h>
#include <string.h>

static void check_line(const struct lane_line *line)
{
    char id[ID_TEXT];
    struct id again;

    FUZZ_CHECK(line->verb <= LANE_release, "a verb %d", (int)line->verb);
    FUZZ_CHECK((line->verb == LANE_open) == (line->size_bytes > 0), "a size of %llu with verb %d",
               (unsigned long long)line->size_bytes, (int)line->verb);
    FUZZ_CHECK(memchr(line->token, 0, sizeof line->token) != NULL, "a token without an end");
    if (line->verb == LANE_open)
        return;
    id_format(line->verb == LANE_close ? 'r' : 't', &line->id, id);
    FUZZ_CHECK(id_parse(id[0], id, strlen(id), &again) == 0 && id_equal(&again, &line->id),
               "an id that is none: %s", id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *exact = malloc(len ? len : 1); /* the sanitizer sees one byte past */
    struct lane_line line;
    struct text t;
    struct err e;

    if (len)
        memcpy(exact, data, len);
    if (lane_line_read(exact, len, &line, &e) == 0) {
        check_line(&line);
    } else {
        fuzz_check_err(&e);
        text_init(&t);
        lane_line_refused(&t, &e);
        FUZZ_CHECK(t.len > 0 && memchr(t.data, '\n', t.len) == t.data + t.len - 1,
                   "an answer of other than one line");
        fuzz_check_json(t.data, t.len - 1, "the answer");
        text_fini(&t);
    }
    free(exact);
    return 0;
}
