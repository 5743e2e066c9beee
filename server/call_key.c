/* call_key.c - Idempotency-Keys of calls, from the call to its record. */
#include "server/call_parts.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u

static struct call_key *table[BUCKETS];

/* FNV-1a. */
static struct call_key **bucket_of(const char *key)
{
    uint32_t hash = 2166136261u;

    for (; *key; key++)
        hash = (hash ^ (uint8_t)*key) * 16777619u;
    return &table[hash % BUCKETS];
}

struct call_key *call_key_find(const char *key)
{
    struct call_key *k = *bucket_of(key);

    while (k && strcmp(k->key.key, key) != 0)
        k = k->next;
    return k;
}

struct call_key *call_key_add(const struct call *c, const struct id *job)
{
    struct call_key **bucket = bucket_of(c->key), *k = calloc(1, sizeof *k);

    if (!k)
        return NULL;
    memcpy(k->key.key, c->key, sizeof k->key.key);
    memcpy(k->key.digest, c->digest, sizeof k->key.digest);
    k->job = *job;
    k->next = *bucket;
    *bucket = k;
    return k;
}

void call_key_remove(struct call_key *k)
{
    struct call_key **at;

    if (!k)
        return;
    for (at = bucket_of(k->key.key); *at != k; at = &(*at)->next)
        ;
    *at = k->next;
    free(k);
}

void call_keys_fini(void)
{
    for (uint32_t i = 0; i < BUCKETS; i++) {
        while (table[i])
            call_key_remove(table[i]);
    }
}

struct store_key *gather_keys(const struct gather *g, uint32_t *n)
{
    struct store_key *keys = NULL;

    *n = 0;
    for (uint32_t i = 0; g->caller && i < g->series->n; i++) {
        if (!g->caller[i].key)
            continue;
        if (!keys)
            keys = calloc(g->series->n, sizeof *keys);
        if (!keys)
            return NULL;
        keys[(*n)++] = g->caller[i].key->key;
    }
    return keys;
}
