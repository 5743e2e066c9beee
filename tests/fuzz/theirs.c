/* theirs.c - what jansson makes of a JSON text. */
#include "tests/fuzz/theirs.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void theirs_read(const char *text, size_t len, struct theirs *out)
{
    static const char kinds[] = {
        [JSON_OBJECT] = 'o', [JSON_ARRAY] = 'a', [JSON_STRING] = 's', [JSON_INTEGER] = 'i',
        [JSON_REAL] = 'r',   [JSON_TRUE] = 't',  [JSON_FALSE] = 'f',  [JSON_NULL] = 'n'};
    json_error_t why;
    json_t *json;

    memset(out, 0, sizeof *out);
    json_object_seed(1);
    json = json_loadb(text ? text : "", len, JSON_DECODE_ANY, &why);
    out->taken = json != NULL;
    if (!json) {
        out->overflows = json_error_code(&why) == json_error_numeric_overflow;
        snprintf(out->why, sizeof out->why, "%.150s", why.text);
        return;
    }
    out->kind = kinds[json_typeof(json)];
    out->real = json_number_value(json);
    if (json_is_string(json)) {
        out->len = json_string_length(json);
        out->text = malloc(out->len + 1);
        if (out->text)
            memcpy(out->text, json_string_value(json), out->len + 1);
    }
    json_decref(json);
}

void theirs_fini(struct theirs *t)
{
    free(t->text);
    t->text = NULL;
}
