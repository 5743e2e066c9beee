/* rank_list.h - ranks as people read them: "0-3, 7". Pure; any thread. */
#ifndef TUTTI_SERVER_RANK_LIST_H
#define TUTTI_SERVER_RANK_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Those of the ranks 0 .. n-1 that pick() takes, runs of three and more as one; "..." stands for
 * what does not fit into size (at least 16), never half a number. Returns buf. */
const char *rank_list(char *buf, size_t size, uint32_t n,
                      bool (*pick)(const void *arg, uint32_t rank), const void *arg);

#endif
