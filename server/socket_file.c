/* socket_file.c - bind a Unix socket where nobody else listens, and remove no other's. */
#include "server/socket_file.h"

#include "schema/log.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Does anybody listen there? A socket whose server has died is left behind, and nobody answers. */
static bool is_alive(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)at, sizeof *at);
    bool alive = rc == 0 || errno == EAGAIN; /* its backlog is full */

    if (fd >= 0)
        close(fd);
    return alive;
}

/* Nothing may be there but what a server before us has left. */
static int clear_place(const struct sockaddr_un *at, struct err *e)
{
    struct stat s;

    if (lstat(at->sun_path, &s) != 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_option, errno, "look at %s", at->sun_path);
    if (!S_ISSOCK(s.st_mode))
        return err_set(e, ERR_option,
                       "%s is there and is no socket: remove it, or name another place",
                       at->sun_path);
    if (is_alive(at))
        return err_set(e, ERR_option,
                       "another process listens on %s: stop it, or name another place",
                       at->sun_path);
    if (unlink(at->sun_path) != 0)
        return err_sys(e, ERR_option, errno, "remove the socket %s, which nobody listens on",
                       at->sun_path);
    return 0;
}

/* The mode at bind is the socket's own without what the umask takes away, so others' share of it
 * has to be given afterwards. */
int socket_file_bind(struct socket_file *f, int fd, const char *path, uint32_t mode, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat s;

    if (strlen(path) >= sizeof at.sun_path)
        return err_set(e, ERR_option, "%s is longer than the %zu bytes of a socket's name", path,
                       sizeof at.sun_path - 1);
    strcpy(at.sun_path, path);
    if (clear_place(&at, e) != 0)
        return -1;
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) != 0)
        return err_sys(e, ERR_option, errno, "listen on unix:%s", path);
    f->at = at;
    if (lstat(path, &s) == 0) {
        f->device = s.st_dev;
        f->inode = s.st_ino;
    }
    if (chmod(path, mode) != 0)
        return err_sys(e, ERR_option, errno, "chmod %04o %s", (unsigned)mode, path);
    return 0;
}

void socket_file_remove(struct socket_file *f)
{
    struct stat s;

    if (f->at.sun_path[0] && lstat(f->at.sun_path, &s) == 0 && s.st_dev == f->device &&
        s.st_ino == f->inode && unlink(f->at.sun_path) != 0)
        log_warn("the socket %s stays: %s", f->at.sun_path, strerror(errno));
    f->at.sun_path[0] = '\0';
}
