/* durable.c - is a directory on a disk, and are its names there for good? */
#include "server/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

bool durable;

int durable_check_dir(const char *dir, const char *option, enum err_code code, struct err *e)
{
    struct statfs fs;

    if (statfs(dir, &fs) != 0)
        return err_sys(e, code, errno, "look at the filesystem of %s", dir);
    if (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC)
        return 0;
    return err_set(e, code,
                   "--durable: %s is in memory, which a loss of power empties: give %s a directory "
                   "on a disk, or start without --durable",
                   dir, option);
}

/* Some filesystems have nothing to flush there (EINVAL); a directory above that we may not read is
 * not one that we made. */
static int sync_one(const char *dir, bool above, enum err_code code, struct err *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

    if (fd < 0 && above && (errno == EACCES || errno == EPERM))
        return 0;
    if (fd < 0)
        return err_sys(e, code, errno, "open %s", dir);
    if (fsync(fd) != 0 && errno != EINVAL && !(above && errno == EROFS))
        rc = err_sys(e, code, errno, "flush the directory %s", dir);
    close(fd);
    return rc;
}

/* All the way up: who made them, and whether that one came to flush them, is not known. */
int durable_sync_dir(const char *dir, enum err_code code, struct err *e)
{
    char path[PATH_MAX];
    int rc;

    if (!realpath(dir, path))
        return err_sys(e, code, errno, "resolve %s", dir);
    rc = sync_one(path, false, code, e);
    while (rc == 0 && path[1] != '\0') {
        char *slash = strrchr(path, '/');

        slash[slash == path] = '\0';
        rc = sync_one(path, true, code, e);
    }
    return rc;
}
