/* retention.h - removes tensors past --retain and job records past a week. Core thread: a timer. */
#ifndef TUTTI_SERVER_RETENTION_H
#define TUTTI_SERVER_RETENTION_H

/* (core, or before it starts) Looks once a second; removes in batches so that nothing waits long.
 */
void retention_start(void);
void retention_stop(void);

#endif
