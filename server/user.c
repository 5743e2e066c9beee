/* user.c - setgroups, setresgid, setresuid, in this order, and a look that they hold. */
#include "server/user.h"
#include "schema/process.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Decimal digits up to end, for a number that is an id: the last one means "no change". */
static bool read_id(const char *text, char end, uint32_t *out, const char **rest)
{
    char *stop;
    unsigned long long n;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    n = strtoull(text, &stop, 10);
    if (errno != 0 || n >= UINT32_MAX || *stop != end)
        return false;
    *out = (uint32_t)n;
    *rest = stop + (end != '\0');
    return true;
}

static int find_name(struct user *out, const char *name, struct err *e)
{
    const struct passwd *entry = getpwnam(name);

    if (!entry)
        return err_set(e, ERR_option, "there is no user \"%.60s\": write a NAME, or UID:GID", name);
    if (strlen(name) >= sizeof out->name || strlen(entry->pw_dir) >= sizeof out->home)
        return err_set(e, ERR_option, "user \"%.60s\" has too long a name or home", name);
    out->uid = entry->pw_uid;
    out->gid = entry->pw_gid;
    strcpy(out->name, name);
    strcpy(out->home, entry->pw_dir);
    return 0;
}

int user_find(struct user *out, const char *text, struct err *e)
{
    struct user u = {.given = true};
    const char *rest;

    if (!(read_id(text, ':', &u.uid, &rest) && read_id(rest, '\0', &u.gid, &rest)) &&
        find_name(&u, text, e) != 0)
        return -1;
    if (u.uid == 0 || u.gid == 0)
        return err_set(e, ERR_option, "\"%.60s\" is root, who gives nothing up", text);
    *out = u;
    return 0;
}

/* Saved ids count: they are the way back. */
static bool is_all(const struct user *u)
{
    uid_t r, f, s;
    gid_t gr, gf, gs;

    return getresuid(&r, &f, &s) == 0 && getresgid(&gr, &gf, &gs) == 0 && r == u->uid &&
           f == u->uid && s == u->uid && gr == u->gid && gf == u->gid && gs == u->gid;
}

static int change(const struct user *u, struct err *e)
{
    if (u->name[0] ? initgroups(u->name, u->gid) != 0 : setgroups(0, NULL) != 0)
        return err_sys(e, ERR_option, errno, "--user: take the groups of user %u",
                       (unsigned)u->uid);
    if (setresgid(u->gid, u->gid, u->gid) != 0 || setresuid(u->uid, u->uid, u->uid) != 0)
        return err_sys(e, ERR_option, errno, "--user: become user %u of group %u", (unsigned)u->uid,
                       (unsigned)u->gid);
    return 0;
}

int user_become(const struct user *u, struct err *e)
{
    if (is_all(u))
        return 0;
    if (geteuid() != 0)
        return err_set(e, ERR_option, "--user: only root can become user %u, and this is user %u",
                       (unsigned)u->uid, (unsigned)geteuid());
    if (change(u, e) != 0)
        return -1;
    if (!is_all(u) || setresuid(-1, 0, -1) == 0 || setresgid(-1, 0, -1) == 0)
        return err_set(e, ERR_option, "--user: root can be had back on this system");
    if (u->home[0]) {
        setenv("HOME", u->home, 1);
        setenv("USER", u->name, 1);
        setenv("LOGNAME", u->name, 1);
    } else {
        unsetenv("HOME");
    }
    process_seal();
    return 0;
}
