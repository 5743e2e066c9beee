/* life.h - a database as one life of the service leaves it: groups, tensors and views, jobs of
 * every state, promises, a gradient, calls, keys and values. */
#ifndef TUTTI_TESTS_FUZZ_LIFE_H
#define TUTTI_TESTS_FUZZ_LIFE_H

#include "server/id.h"

struct store_msg;

#define LIFE_TENSORS 3
extern struct id life_tensors[LIFE_TENSORS];

/* Its bytes, and no log; malloc'd. dir is empty, and so it is again afterwards. post: the store's
 * own store_post, which a harness may have replaced. The same but for ids and times. */
uint8_t *life_database(const char *dir, uint64_t arena_nonce, void (*post)(struct store_msg *m),
                       size_t *len);

#endif
