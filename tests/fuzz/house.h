/* house.h - the server's core around a harness: jobs, scheduler, groups and events on this thread,
 * over a database that takes everything at once and keeps nothing: it has one finished job, and
 * one key, `there`, in every group. */
#ifndef TUTTI_TESTS_FUZZ_HOUSE_H
#define TUTTI_TESTS_FUZZ_HOUSE_H

#include "tests/fuzz/fuzz.h"

#define HOUSE_WORLD 4
extern const struct id house_id; /* ..0001: of that job, and of its output, if there is a tensor */

void house_open(uint32_t lanes); /* of the scheduler */
/* Workers of all ranks are there: they do whatever they are told to, soon. For harnesses whose
 * workers the linker has replaced. */
void house_ready(void);
/* What is posted runs, then what that posts. */
void house_turn(void);
/* Are the core's books right? */
void house_check(void);
/* Forgets everything, as a crash would; the tensors too. */
void house_close(void);

#endif
