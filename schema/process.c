/* process.c - no new privileges, no dumps, no files for others. */
#include "schema/process.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

void process_seal(void)
{
    umask(077);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    /* The limit alone does not bind a system that pipes dumps to a program. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
