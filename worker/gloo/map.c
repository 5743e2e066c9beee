/* map.c - which ranks of a group share a host. */
#include "worker/gloo/map.h"

#include <stdlib.h>

static bool all_on_one(uint32_t n, const uint32_t *hosts)
{
    for (uint32_t r = 1; hosts && r < n; r++) {
        if (hosts[r] != hosts[0])
            return false;
    }
    return true;
}

/* Numbers the hosts in order of appearance; each rank's place among those of its own. */
static void number_hosts(struct map *m, const uint32_t *hosts)
{
    for (uint32_t r = 0; r < m->n; r++) {
        uint32_t q = 0;

        m->host[r] = m->n_hosts;
        m->place[r] = 0;
        while (!m->apart && q < r && hosts[q] != hosts[r])
            q++;
        if (!m->apart && q < r)
            m->host[r] = m->host[q];
        else
            m->n_hosts++;
        for (q = 0; q < r; q++)
            m->place[r] += m->host[q] == m->host[r];
    }
}

static void list_members(struct map *m)
{
    for (uint32_t r = 0; r < m->n; r++)
        m->first[m->host[r] + 1]++;
    for (uint32_t h = 0; h < m->n_hosts; h++) {
        uint32_t size = m->first[h + 1];

        m->lanes = h == 0 || size < m->lanes ? size : m->lanes;
        m->largest = size > m->largest ? size : m->largest;
        m->first[h + 1] += m->first[h];
    }
    for (uint32_t r = 0; r < m->n; r++)
        m->member[m->first[m->host[r]] + m->place[r]] = r;
}

static void list_runs(struct map *m)
{
    for (uint32_t r = 0; r < m->n; r++) {
        if (r == 0 || m->host[r] != m->host[r - 1])
            m->run[m->n_runs++] = r;
    }
    m->run[m->n_runs] = m->n;
}

struct map *map_new(uint32_t n, uint32_t rank, const uint32_t *hosts)
{
    struct map *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->n = n;
    m->rank = rank;
    m->apart = all_on_one(n, hosts);
    m->host = calloc(n, sizeof *m->host);
    m->place = calloc(n, sizeof *m->place);
    m->first = calloc(n + 1, sizeof *m->first);
    m->member = calloc(n, sizeof *m->member);
    m->run = calloc(n + 1, sizeof *m->run);
    if (!m->host || !m->place || !m->first || !m->member || !m->run) {
        map_free(m);
        return NULL;
    }
    number_hosts(m, hosts);
    list_members(m);
    list_runs(m);
    return m;
}

void map_free(struct map *m)
{
    if (!m)
        return;
    free(m->host);
    free(m->place);
    free(m->first);
    free(m->member);
    free(m->run);
    free(m);
}

uint32_t map_size(const struct map *m, uint32_t host)
{
    return m->first[host + 1] - m->first[host];
}

uint32_t map_speaker(const struct map *m, uint32_t host, uint32_t lane)
{
    return m->member[m->first[host] + lane % map_size(m, host)];
}
