/* map.h - which ranks of a group share a host, and so memory. Pure but for the allocation; any
 * thread. */
#ifndef TUTTI_WORKER_GLOO_MAP_H
#define TUTTI_WORKER_GLOO_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct map {
    uint32_t n, rank; /* of the group */
    uint32_t n_hosts; /* numbered in the order in which the group comes to them */
    uint32_t lanes;   /* ranks of the smallest host */
    uint32_t largest; /* and of the largest */
    bool apart;       /* every rank is taken for a host, though they share an arena */
    uint32_t n_runs;  /* the group in order, cut where the host changes */
    uint32_t *host;   /* n: of each rank */
    uint32_t *place;  /* n: which of its host's ranks it is */
    uint32_t *first;  /* n_hosts + 1: where its ranks begin in member */
    uint32_t *member; /* n: ranks, host by host, in group order */
    uint32_t *run;    /* n_runs + 1: the rank that each begins with */
};

/* hosts: n numbers, equal for ranks of one host; NULL when all are. A group that lies on one host
 * is here for the sake of gloo: its ranks are taken apart. NULL: out of memory. */
struct map *map_new(uint32_t n, uint32_t rank, const uint32_t *hosts);
void map_free(struct map *m);

uint32_t map_size(const struct map *m, uint32_t host); /* its ranks */

/* The rank of a host that speaks for it in lane 0, 1, ...: they take turns. */
uint32_t map_speaker(const struct map *m, uint32_t host, uint32_t lane);

#endif
