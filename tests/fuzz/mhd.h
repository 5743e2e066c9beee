/* mhd.h - libmicrohttpd's place taken, so that a request needs no socket and no thread: its text is
 * handed to http.c as the library would, and the answer is looked at.
 *
 * As lax as the library about what guard.c is there for, and no more: no NUL in the head.
 */
#ifndef TUTTI_TESTS_FUZZ_MHD_H
#define TUTTI_TESTS_FUZZ_MHD_H

#include "tests/fuzz/fuzz.h"

/* Once: http_start. */
void mhd_start(void);

/* One request out of the input, from the method to the end of its body (or of the input); lines end
 * in \n or \r\n. turn: lets the core do what waits. A client that is still waiting then hangs up.
 */
void mhd_request(struct fuzz_in *in, void (*turn)(void));

#endif
