/* power.c - preloaded into a server: keeps, beside its files, what is surely on the disk.
 *
 * Strict where real disks are often kind. A file's bytes are on the disk from fsync, fdatasync, or
 * (of that range) msync(MS_SYNC) on; a name is there from the fsync of its directory on; nothing
 * else makes anything durable, sync_file_range least of all. The real calls are left out.
 *
 *   POWER_ROOT  the directory that is watched, with all below it
 *   POWER_DISK  what is on the disk: f-KEY, a file's bytes; d-KEY, a directory's names, each in a
 *               line "TYPE KEY NAME". Empty at first: then all that is there is on the disk
 *   POWER_BOOT  a file to be read in place of the kernel's boot id
 *
 * A kill in the middle of a copy leaves it done in part, as a disk would. Also loaded by the test
 * itself, for power_key.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define BLOCK (16 * PAGE)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static const char *root, *disk, *boot;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A number may be another file's before: its birth tells them apart. Returns its type, or 0. */
int power_key(const char *path, char key[64])
{
    struct statx st;

    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME | STATX_TYPE, &st) != 0)
        return 0;
    snprintf(key, 64, "%llu-%lld.%09u", (unsigned long long)st.stx_ino,
             (long long)st.stx_btime.tv_sec, st.stx_btime.tv_nsec);
    return S_ISDIR(st.stx_mode) ? 'd' : S_ISREG(st.stx_mode) ? 'f' : 's';
}

static bool is_watched(const char *path)
{
    size_t n = root ? strlen(root) : 0;

    return n > 0 && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The watched path of a descriptor; false: none. */
static bool path_of(int fd, char path[PATH_MAX])
{
    char link[64];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0 && is_watched(path);
}

static void die(const char *what)
{
    fprintf(stderr, "power.c: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- what is on the disk ---- */

static int open_copy(const char *path)
{
    char key[64], to[PATH_MAX];
    int fd;

    if (power_key(path, key) != 'f')
        return -1; /* removed meanwhile: it cannot come back */
    snprintf(to, sizeof to, "%s/f-%s", disk, key);
    fd = open64(to, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die(to);
    return fd;
}

static void put(int to, const char *bytes, size_t n, off_t at)
{
    static char old[BLOCK];

    if (pread(to, old, n, at) == (ssize_t)n && memcmp(old, bytes, n) == 0)
        return;
    if (pwrite(to, bytes, n, at) != (ssize_t)n)
        die("copy");
}

static void note_file(const char *path)
{
    static char bytes[BLOCK];
    int from = open64(path, O_RDONLY | O_CLOEXEC), to = open_copy(path);
    off_t at = 0;
    ssize_t n;

    if (from >= 0 && to >= 0) {
        while ((n = pread(from, bytes, BLOCK, at)) > 0) {
            put(to, bytes, (size_t)n, at);
            at += n;
        }
        if (ftruncate(to, at) != 0)
            die("shorten");
    }
    close(from);
    close(to);
}

static void note_range(const char *path, const char *bytes, size_t len, off_t at)
{
    struct stat st, have;
    int to = open_copy(path);

    if (to < 0)
        return;
    if (stat(path, &st) == 0 && fstat(to, &have) == 0) {
        if (have.st_size < st.st_size && ftruncate(to, st.st_size) != 0)
            die("lengthen");
        for (size_t done = 0; done < len && at + (off_t)done < st.st_size; done += PAGE) {
            off_t left = st.st_size - at - (off_t)done;

            put(to, bytes + done, left < PAGE ? (size_t)left : PAGE, at + (off_t)done);
        }
    }
    close(to);
}

static void note_dir(const char *path)
{
    char key[64], to[PATH_MAX], temporary[PATH_MAX + 8], name[PATH_MAX];
    const struct dirent *entry;
    DIR *dir = opendir(path);
    FILE *out;

    if (power_key(path, key) != 'd' || !dir)
        die(path);
    snprintf(to, sizeof to, "%s/d-%s", disk, key);
    snprintf(temporary, sizeof temporary, "%s.tmp", to);
    out = fopen(temporary, "w");
    if (!out)
        die(temporary);
    while ((entry = readdir(dir))) {
        int type;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name)
            abort();
        type = power_key(name, key);
        if (type)
            fprintf(out, "%c %s %s\n", type, key, entry->d_name);
    }
    closedir(dir);
    if (fclose(out) != 0 || rename(temporary, to) != 0)
        die(to);
}

static void note_all(const char *path)
{
    char name[PATH_MAX], key[64];
    const struct dirent *entry;
    DIR *dir = opendir(path);

    if (!dir)
        die(path);
    while ((entry = readdir(dir))) {
        int type;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name)
            abort();
        type = power_key(name, key);
        if (type == 'd')
            note_all(name);
        else if (type == 'f')
            note_file(name);
    }
    closedir(dir);
    note_dir(path);
}

/* The server's first; its workers find it done. */
__attribute__((constructor)) static void begin(void)
{
    char key[64], path[PATH_MAX];

    disk = getenv("POWER_DISK");
    boot = getenv("POWER_BOOT");
    root = disk && boot ? getenv("POWER_ROOT") : NULL;
    if (!root)
        return;
    if (power_key(root, key) != 'd')
        die(root);
    snprintf(path, sizeof path, "%s/d-%s", disk, key);
    if (access(path, F_OK) != 0)
        note_all(root);
}

/* ---- the calls ---- */

static int flush(int fd, long number)
{
    char path[PATH_MAX];
    struct stat st;

    if (!path_of(fd, path))
        return (int)syscall(number, fd);
    if (fstat(fd, &st) != 0)
        return -1;
    pthread_mutex_lock(&lock);
    if (S_ISDIR(st.st_mode))
        note_dir(path);
    else
        note_file(path);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd)
{
    return flush(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return flush(fd, SYS_fdatasync);
}

int sync_file_range(int fd, off64_t from, off64_t n, unsigned flags)
{
    char path[PATH_MAX];

    return path_of(fd, path) ? 0 : (int)syscall(SYS_sync_file_range, fd, from, n, flags);
}

/* The file that is mapped at address, and where in it; false: none that is watched. */
static bool mapped_at(unsigned long address, char path[PATH_MAX], off_t *at)
{
    char line[PATH_MAX + 128];
    FILE *maps = fopen("/proc/self/maps", "r");
    bool found = false;

    while (maps && !found && fgets(line, sizeof line, maps)) {
        unsigned long from, to, offset;
        int name = 0;

        if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %n", &from, &to, &offset, &name) != 3 ||
            address < from || address >= to)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(path, PATH_MAX, "%s", line + name);
        *at = (off_t)(offset + (address - from));
        found = is_watched(path);
    }
    if (maps)
        fclose(maps);
    return found;
}

int msync(void *address, size_t len, int flags)
{
    char path[PATH_MAX];
    off_t at = 0;

    if (!root || !mapped_at((unsigned long)address, path, &at))
        return (int)syscall(SYS_msync, address, len, flags);
    if ((unsigned long)address % PAGE) {
        errno = EINVAL;
        return -1;
    }
    if (flags & MS_SYNC) {
        pthread_mutex_lock(&lock);
        note_range(path, address, (len + PAGE - 1) / PAGE * PAGE, at);
        pthread_mutex_unlock(&lock);
    }
    return 0;
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    if (flags & O_CREAT) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    if (root && strcmp(path, BOOT_ID) == 0)
        path = boot;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
