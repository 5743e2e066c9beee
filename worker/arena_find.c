/* arena_find.c - open what WELCOME names, lock it, and doubt that it is the same. */
#include "worker/arena_find.h"
#include "schema/arena_header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Never makes a file, never follows a link. */
static int open_file(const char *path, int *out, struct err *e)
{
    *out = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (*out < 0)
        return err_sys(e, ERR_refused, errno, "cannot open %s here", path);
    return 0;
}

/* The byte of our epoch tells this server whether we live, and who we are. */
int fence_take(int fd, uint64_t epoch, struct err *e)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)epoch, .l_len = 1};

    /* Shared, as of all workers, so that the next server waits for us. A descriptor that came over
     * the link has it already. */
    if (flock(fd, LOCK_SH | LOCK_NB) != 0 || fcntl(fd, F_SETLK, &lock) != 0)
        return err_sys(e, ERR_refused, errno, "lock the server's fence");
    return 0;
}

bool arena_find_same_boot(const char *boot_id)
{
    char ours[BOOT_ID_BYTES] = "";
    int fd = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ours, sizeof ours - 1);

    if (fd >= 0)
        close(fd);
    ours[strcspn(ours, "\n")] = '\0';
    return n > 0 && strncmp(ours, boot_id, BOOT_ID_BYTES) == 0;
}

static int check_arena(int fd, const char *path, const struct frame_welcome *w, struct err *e)
{
    struct arena_header h;
    struct stat s;

    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && pread(fd, &h, sizeof h, 0) == sizeof h &&
        h.magic == ARENA_MAGIC && h.version == ARENA_VERSION && h.nonce == w->arena_nonce &&
        h.size_bytes == w->arena_bytes && (uint64_t)s.st_size >= h.size_bytes &&
        arena_find_same_boot(h.boot_id))
        return 0;
    return err_set(e, ERR_refused, "%s here is not the arena of this server", path);
}

static int find(const struct frame_welcome *w, const char *arena, const char *fence, int *arena_fd,
                int *fence_fd, struct err *e)
{
    *arena_fd = *fence_fd = -1;
    if (open_file(fence, fence_fd, e) == 0 && fence_take(*fence_fd, w->epoch, e) == 0 &&
        open_file(arena, arena_fd, e) == 0 && check_arena(*arena_fd, arena, w, e) == 0)
        return 0;
    if (*arena_fd >= 0)
        close(*arena_fd);
    if (*fence_fd >= 0)
        close(*fence_fd);
    return -1;
}

static int in_dir(char *out, size_t size, const char *dir, const char *path)
{
    const char *slash = strrchr(path, '/');
    int n = snprintf(out, size, "%s/%s", dir, slash ? slash + 1 : path);

    return n > 0 && (size_t)n < size ? 0 : -1;
}

int arena_find(const struct frame_welcome *w, const char *dir, int *arena_fd, int *fence_fd,
               struct err *e)
{
    char arena[sizeof w->arena_path], fence[sizeof w->fence_path];

    if (!*dir)
        return find(w, w->arena_path, w->fence_path, arena_fd, fence_fd, e);
    if (in_dir(arena, sizeof arena, dir, w->arena_path) != 0 ||
        in_dir(fence, sizeof fence, dir, w->fence_path) != 0)
        return err_set(e, ERR_refused, "%s is too long a name", dir);
    return find(w, arena, fence, arena_fd, fence_fd, e);
}
