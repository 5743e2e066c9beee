/* prometheus.h - all metrics in Prometheus' text format, version 0.0.4. Any thread. */
#ifndef TUTTI_SERVER_PROMETHEUS_H
#define TUTTI_SERVER_PROMETHEUS_H

#include "schema/error.h"
#include "server/text.h"

/* Every row of metrics.def. Histograms have samples for what has happened, so that their number
 * follows what is used. Returns 0, or -1 with ERR_no_memory. */
int prometheus_write(struct text *out, struct err *e);

/* The table, for --print-tables. */
void prometheus_print_table(void);

#endif
