/* seccomp.h - a filter of system calls, from a table of them.
 *
 * A refused call fails with EPERM and goes on, where killing would be sterner: a library has a path
 * for an error, and one new call of a new libc would else be an outage.
 */
#ifndef TUTTI_SCHEMA_SECCOMP_H
#define TUTTI_SCHEMA_SECCOMP_H

#include "schema/error.h"

#include <stddef.h>
#include <stdint.h>

enum seccomp_when {
    SECCOMP_ALWAYS,
    SECCOMP_EQUAL, /* the argument's bits of mask are value */
    SECCOMP_DIFFER /* they are not */
};

/* The rule holds for a call when the low half of its argument arg, 0 to 5, is as when says. */
struct seccomp_rule {
    int call; /* SYS_... */
    enum seccomp_when when;
    int arg;
    uint32_t mask, value;
};

#define SECCOMP_CALL(name) \
    {                      \
        .call = SYS_##name \
    }

/* For all threads of this process, and what it starts, for good. Further filters may be added: a
 * call must pass all. Either allows the calls of rules and no others, or refuses what is in
 * denied.def, new namespaces by clone, and the calls of rules. clone3, whose flags a filter cannot
 * see, is missing in both (ENOSYS): libc falls back to clone. A call of another architecture ends
 * the process: no program of this build makes one.
 *
 * Needs no_new_privs. Returns 0, or -1 with ERR_internal: this kernel cannot. */
int seccomp_allow(const struct seccomp_rule *rules, size_t n, struct err *e);
int seccomp_deny(const struct seccomp_rule *rules, size_t n, struct err *e);

#endif
