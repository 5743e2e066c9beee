/* landlock.c - raw system calls: libc has none, and the headers may be older than the kernel. */
#include "server/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of <linux/landlock.h>, some newer than Debian 12's; numbers of the kernel never change. */
enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_CHAR = 1 << 6,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_MAKE_SOCK = 1 << 9,
    FS_MAKE_FIFO = 1 << 10,
    FS_MAKE_BLOCK = 1 << 11,
    FS_MAKE_SYM = 1 << 12,
    FS_REFER = 1 << 13,     /* since version 2: a link or a move to another directory */
    FS_TRUNCATE = 1 << 14,  /* 3 */
    FS_IOCTL_DEV = 1 << 15, /* 5 */
    NET_BIND = 1 << 0,      /* 4 */
    NET_CONNECT = 1 << 1,
    SCOPE_ABSTRACT = 1 << 0 /* 6: abstract sockets of others */
};

#define FS_READS (FS_EXECUTE | FS_READ_FILE | FS_READ_DIR | FS_IOCTL_DEV)
#define FS_OF_A_FILE (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)
#define FS_USED                                                                              \
    (FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_REG | FS_MAKE_SOCK | \
     FS_REMOVE_FILE)

struct ruleset {
    uint64_t files, ports, scoped;
};

static uint64_t known_files(int version)
{
    const uint64_t all = 2 * FS_IOCTL_DEV - 1;

    return all & ~(version < 2 ? FS_REFER : 0ull) & ~(version < 3 ? FS_TRUNCATE : 0ull) &
           ~(version < 5 ? FS_IOCTL_DEV : 0ull);
}

static struct ruleset handled(const struct landlock_rules *r, int version)
{
    return (struct ruleset){
        .files = known_files(version) & ~(r->reads ? 0ull : FS_READS),
        .ports = version < 4 ? 0 : (r->connects ? 0 : NET_CONNECT) | (r->binds ? 0 : NET_BIND),
        .scoped = version < 6 ? 0 : SCOPE_ABSTRACT,
    };
}

static int add_place(int ruleset, const struct landlock_place *place, uint64_t files, struct err *e)
{
    struct landlock_path_beneath_attr rule = {.parent_fd = open(place->path, O_PATH | O_CLOEXEC)};
    struct stat s;
    int rc = 0;

    if (rule.parent_fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_internal, errno, "open %s", place->path);
    rule.allowed_access = files &
                          (place->use == LANDLOCK_WRITES ? FS_USED : FS_READ_FILE | FS_READ_DIR);
    if (fstat(rule.parent_fd, &s) == 0 && !S_ISDIR(s.st_mode))
        rule.allowed_access &= FS_OF_A_FILE;
    if (rule.allowed_access != 0 &&
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        rc = err_sys(e, ERR_internal, errno, "allow %s", place->path);
    close(rule.parent_fd);
    return rc;
}

int landlock_confine(const struct landlock_rules *r, struct err *e)
{
    int rc = -1;
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct ruleset set;
    int fd;

    if (version < 1)
        return err_sys(e, ERR_internal, errno, "this kernel has no Landlock");
    set = handled(r, (int)version);
    fd = (int)syscall(SYS_landlock_create_ruleset, &set, sizeof set, 0);
    if (fd < 0)
        return err_sys(e, ERR_internal, errno, "a Landlock ruleset");
    for (size_t i = 0; i < r->n; i++) {
        if (add_place(fd, &r->places[i], set.files, e) != 0)
            goto out;
    }
    if (syscall(SYS_landlock_restrict_self, fd, 0) != 0) {
        err_sys(e, ERR_internal, errno, "enter a Landlock ruleset");
        goto out;
    }
    rc = (int)version;
out:
    close(fd);
    return rc;
}
