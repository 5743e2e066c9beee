/* jansson_tree.c - what a tensor as JSON costs by way of jansson's tree: text to floats, and floats
 * to text, each with everything that is allocated for it and freed again.
 *
 *   jansson_tree FILE MEMBER    one line of JSON: seconds; MEMBER of the document is the list
 */
#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    long n;

    if (f && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) > 0) {
        rewind(f);
        text = malloc((size_t)n);
        if (text && fread(text, 1, (size_t)n, f) != (size_t)n)
            exit(1);
        *size = (size_t)n;
    }
    if (f)
        fclose(f);
    return text;
}

/* The list's numbers, which the caller frees. */
static float *parse(const char *text, size_t size, const char *member, size_t *n)
{
    json_error_t error;
    json_t *tree = json_loadb(text, size, 0, &error), *list = json_object_get(tree, member), *one;
    float *floats;
    size_t i;

    *n = json_array_size(list);
    floats = malloc((*n + 1) * sizeof *floats);
    if (!floats || *n == 0) {
        fprintf(stderr, "jansson_tree: %s\n", tree ? "no such list" : error.text);
        exit(1);
    }
    json_array_foreach(list, i, one) floats[i] = (float)json_number_value(one);
    json_decref(tree);
    return floats;
}

/* The document's length. Nine digits are what tells any two floats apart. */
static size_t write_out(const float *floats, size_t n, const char *member)
{
    json_t *tree = json_object(), *list = json_array();
    char *text;
    size_t size;

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_real((double)floats[i]));
    json_object_set_new(tree, member, list);
    text = json_dumps(tree, JSON_COMPACT | JSON_REAL_PRECISION(9));
    size = text ? strlen(text) : 0;
    free(text);
    json_decref(tree);
    return size;
}

int main(int argc, char *argv[])
{
    size_t size = 0, n = 0, written;
    char *text = argc == 3 ? read_file(argv[1], &size) : NULL;
    float *floats;
    double begun, parsed;

    if (!text) {
        fprintf(stderr, "usage: jansson_tree FILE MEMBER\n");
        return 1;
    }
    begun = now_s();
    floats = parse(text, size, argv[2], &n);
    parsed = now_s();
    written = write_out(floats, n, argv[2]);
    printf("{\"floats\":%zu,\"parse_s\":%.6f,\"write_s\":%.6f,\"bytes\":%zu}\n", n, parsed - begun,
           now_s() - parsed, written);
    free(floats);
    free(text);
    return 0;
}
