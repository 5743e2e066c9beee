/* process.h - what either program gives up as it starts. */
#ifndef TUTTI_SCHEMA_PROCESS_H
#define TUTTI_SCHEMA_PROCESS_H

/* Sanitizers, and valgrind, watch a process by what the sandboxes refuse: such builds run without.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(TUTTI_NO_SANDBOX)
#define PROCESS_SANITIZED 1
#else
#define PROCESS_SANITIZED 0
#endif

/* For good, and for every program that it starts: rights by exec (no setuid program raises them),
 * files that others may read (umask 077), and dumps of memory, which holds everybody's tensors. The
 * last holds for this program alone, and also refuses debuggers and /proc/PID/mem to all but root.
 * It is undone by a change of user: call it again after one. Main thread. */
void process_seal(void);

#endif
