/* private_dir.c - makes or checks a directory that only we may enter. */
#include "server/private_dir.h"

#include "schema/clock.h"
#include "schema/limits.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Everything above the last component; what is there already is left as it is. */
static int make_parents(const char *path, enum err_code code, struct err *e)
{
    char part[PATH_MAX];
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof part)
        return err_set(e, code, "the directory's name must have 1 to %d bytes", PATH_MAX - 1);
    memcpy(part, path, len + 1);
    for (size_t i = 1; i < len; i++) {
        if (part[i] != '/')
            continue;
        part[i] = 0;
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return err_sys(e, code, errno, "make directory %s", part);
        part[i] = '/';
    }
    return 0;
}

int private_dir_make(const char *path, enum err_code code, struct err *e)
{
    struct stat st;

    if (make_parents(path, code, e) != 0)
        return -1;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_sys(e, code, errno, "make directory %s", path);
    if (stat(path, &st) != 0)
        return err_sys(e, code, errno, "look at %s", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, code, "%s is not a directory", path);
    if (st.st_uid != geteuid() && geteuid() != 0)
        return err_set(e, code, "%s belongs to user %u, this process runs as user %u", path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 077)
        return err_set(e, code, "others may enter %s (mode %04o): run chmod 700 %s", path,
                       (unsigned)(st.st_mode & 07777), path);
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return err_sys(e, code, errno, "%s must be readable and writable", path);
    return 0;
}

int private_dir_lock(int fd)
{
    uint64_t deadline = clock_us() + LIMIT_LOCK_MS * 1000ull;
    int rc;

    while ((rc = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK &&
           clock_us() < deadline)
        usleep(10000);
    return rc;
}
