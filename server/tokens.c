/* tokens.c - the token file, and whether a token is in it. */
#include "server/tokens.h"

#include "schema/log.h"
#include "server/size.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_BYTES 32

static const char *const roles[ROLE_COUNT] = {"read", "user", "admin", "worker"};

struct token {
    struct account *account;
    enum role role;
    uint8_t hash[TOKEN_HASH_BYTES];
    uint32_t line;            /* that it is on: a later one's quota holds */
    uint32_t says;            /* of which uses, a bit each, its line has a quota */
    uint64_t most[USE_COUNT]; /* of these */
};

struct list {
    struct token *token; /* by account's name, and line */
    size_t n, room;
};

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct list tokens;      /* under lock */
static atomic_uint list_number; /* of tokens; changed under lock */
static atomic_bool wanted;

const char *role_name(enum role r)
{
    return r < ROLE_COUNT ? roles[r] : "";
}

bool tokens_wanted(void)
{
    return atomic_load_explicit(&wanted, memory_order_relaxed);
}

/* ---- a line ---- */

static const uint64_t defaults[USE_COUNT] = {
    [USE_jobs] = LIMIT_ACCOUNT_JOBS,       [USE_waits] = LIMIT_ACCOUNT_WAITS,
    [USE_streams] = LIMIT_ACCOUNT_STREAMS, [USE_groups] = LIMIT_ACCOUNT_GROUPS,
    [USE_keys] = LIMIT_ACCOUNT_KEYS,
};

static bool is_name(const char *text)
{
    size_t len = strlen(text);

    if (len == 0 || len > LIMIT_ACCOUNT_BYTES || !isalpha((unsigned char)text[0]))
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x80 || !(isalnum(c) || c == '_' || c == '-'))
            return false;
    }
    return true;
}

static int check_name(const char *text, struct err *e)
{
    if (is_name(text))
        return 0;
    return err_set(e, ERR_option,
                   "\"%.60s\" is no account's name: a letter, then letters, digits, _ and -, %d in "
                   "all at most",
                   text, LIMIT_ACCOUNT_BYTES);
}

static int read_role(const char *text, enum role *out, struct err *e)
{
    for (int r = 0; r < ROLE_COUNT; r++) {
        if (strcmp(text, roles[r]) == 0) {
            *out = (enum role)r;
            return 0;
        }
    }
    return err_set(e, ERR_option, "\"%.60s\" is no role: write read, user, admin or worker", text);
}

static int read_hash(const char *text, uint8_t out[TOKEN_HASH_BYTES], struct err *e)
{
    static const char digits[] = "0123456789abcdef";

    if (strlen(text) == 2 * TOKEN_HASH_BYTES && strspn(text, digits) == 2 * TOKEN_HASH_BYTES) {
        for (size_t i = 0; i < TOKEN_HASH_BYTES; i++)
            out[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 |
                               (strchr(digits, text[2 * i + 1]) - digits));
        return 0;
    }
    return err_set(e, ERR_option,
                   "the third word is the SHA-256 of the secret, %d small hexadecimal digits; "
                   "--new-token NAME:ROLE makes a token and its line",
                   2 * TOKEN_HASH_BYTES);
}

/* jobs=500, arena=2G, arena=25% */
static int read_quota(char *word, struct token *t, uint64_t arena_bytes, struct err *e)
{
    char *value = strchr(word, '='), *end;
    uint64_t most = 0;
    int u = 0;

    if (value)
        *value++ = '\0';
    while (u < USE_COUNT && strcmp(word, account_use_name((enum use)u)) != 0)
        u++;
    if (u == USE_COUNT || !value)
        return err_set(e, ERR_option,
                       "\"%.60s\" is no quota: write arena=, jobs=, waits=, streams=, groups= or "
                       "keys= and a number",
                       word);
    errno = 0;
    if (isdigit((unsigned char)*value))
        most = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || errno != 0)
        return err_set(e, ERR_option, "\"%.60s\" is no number for %s=", value, word);
    if (u == USE_arena && strcmp(end, "%") == 0 && most <= 100)
        most = (uint64_t)((unsigned __int128)arena_bytes * most / 100);
    else if (u == USE_arena && size_read(&most, value, e) != 0)
        return -1;
    else if (u != USE_arena && *end)
        return err_set(e, ERR_option, "\"%.60s\" is no number for %s=", value, word);
    t->says |= 1u << u;
    t->most[u] = most;
    return 0;
}

static int list_add(struct list *list, const struct token *t, struct err *e)
{
    if (list->n == LIMIT_TOKENS)
        return err_set(e, ERR_option, "a token file has at most %d tokens", LIMIT_TOKENS);
    if (list->n == list->room) {
        size_t room = list->room ? 2 * list->room : 16;
        struct token *more = realloc(list->token, room * sizeof *more);

        if (!more)
            return err_set(e, ERR_no_memory, "%zu tokens", room);
        list->token = more;
        list->room = room;
    }
    list->token[list->n++] = *t;
    return 0;
}

static int read_line(char *line, uint32_t number, struct list *list, uint64_t arena_bytes,
                     struct err *e)
{
    char *save = NULL, *name, *role, *hash;
    struct token t = {.line = number};

    line[strcspn(line, "#\n")] = '\0';
    name = strtok_r(line, " \t\r", &save);
    if (!name)
        return 0;
    role = strtok_r(NULL, " \t\r", &save);
    hash = strtok_r(NULL, " \t\r", &save);
    if (!role || !hash)
        return err_set(e, ERR_option, "a line is NAME ROLE SHA256 [QUOTA=N]...");
    if (check_name(name, e) != 0 || read_role(role, &t.role, e) != 0 ||
        read_hash(hash, t.hash, e) != 0)
        return -1;
    t.account = account_get(name);
    if (!t.account)
        return err_set(e, ERR_no_memory, "an account");
    for (char *word; (word = strtok_r(NULL, " \t\r", &save));) {
        if (read_quota(word, &t, arena_bytes, e) != 0)
            return -1;
    }
    return list_add(list, &t, e);
}

/* ---- the file ---- */

static int by_name(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    int order = strcmp(x->account->name, y->account->name);

    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static int check_file(FILE *f, struct err *e)
{
    struct stat s;

    if (fstat(fileno(f), &s) != 0 || !S_ISREG(s.st_mode))
        return err_set(e, ERR_option, "it is no file");
    if (s.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(e, ERR_option, "others may read or change it: chmod 600 it");
    return 0;
}

static int read_file(FILE *f, struct list *list, uint64_t arena_bytes, struct err *e)
{
    char line[LIMIT_TOKEN_LINE_BYTES];

    if (check_file(f, e) != 0)
        return -1;
    for (uint32_t n = 1; fgets(line, sizeof line, f); n++) {
        if (!strchr(line, '\n') && !feof(f))
            return err_set(e, ERR_option, "line %u has more than %d bytes", n,
                           LIMIT_TOKEN_LINE_BYTES - 2);
        if (read_line(line, n, list, arena_bytes, e) != 0)
            return err_context(e, "line %u", n);
    }
    return ferror(f) ? err_set(e, ERR_option, "it cannot be read") : 0;
}

/* What an account's lines say of a use, or the default. Not before the whole file is read: one that
 * is wrong changes nothing. */
static void set_limits(const struct list *list, uint64_t arena_bytes)
{
    for (size_t i = 0, next; i < list->n; i = next) {
        struct account *a = list->token[i].account;
        uint64_t most[USE_COUNT];

        memcpy(most, defaults, sizeof most);
        most[USE_arena] = arena_bytes / 100 * LIMIT_ACCOUNT_ARENA_PERCENT;
        for (next = i; next < list->n && list->token[next].account == a; next++) {
            for (int u = 0; u < USE_COUNT; u++)
                if (list->token[next].says >> u & 1)
                    most[u] = list->token[next].most[u];
        }
        for (int u = 0; u < USE_COUNT; u++)
            atomic_store(&a->most[u], most[u]);
    }
}

static void put(struct list *list)
{
    struct list old;

    pthread_rwlock_wrlock(&lock);
    old = tokens;
    tokens = *list;
    atomic_fetch_add(&list_number, 1);
    pthread_rwlock_unlock(&lock);
    free(old.token);
    atomic_store(&wanted, true);
}

int tokens_load(const char *path, uint64_t arena_bytes, struct err *e)
{
    struct list list = {0};
    FILE *f = fopen(path, "re");
    int rc;

    if (!f && errno == ENOENT)
        return err_set(e, ERR_option,
                       "--token-file %s: there is no such file; make it with its first token: "
                       "tutti-server --token-file %s --new-token alice:user",
                       path, path);
    if (!f)
        return err_sys(e, ERR_option, errno, "--token-file %s", path);
    rc = read_file(f, &list, arena_bytes, e);
    fclose(f);
    if (rc != 0) {
        free(list.token);
        return err_context(e, "%s", path);
    }
    if (list.n > 0)
        qsort(list.token, list.n, sizeof *list.token, by_name);
    set_limits(&list, arena_bytes);
    log_info("%zu tokens in %s", list.n, path);
    put(&list);
    return 0;
}

void tokens_fini(void)
{
    struct list none = {0};

    put(&none);
    atomic_store(&wanted, false);
}

/* ---- a token ---- */

static int hash_secret(const char *secret, uint8_t out[TOKEN_HASH_BYTES], struct err *e)
{
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, strlen(secret), out) != 0)
        return err_set(e, ERR_internal, "SHA-256 is not to be had");
    return 0;
}

/* The first of the account's tokens, and how many. Under the lock. */
static size_t find_account(const char *name, size_t len, const struct token **first)
{
    size_t low = 0, high = tokens.n, n = 0;

    while (low < high) {
        size_t mid = (low + high) / 2;
        const char *there = tokens.token[mid].account->name;
        int order = strncmp(there, name, len);

        if (order < 0)
            low = mid + 1;
        else
            high = mid; /* equal, or longer, or behind it */
    }
    *first = tokens.token + low;
    while (low + n < tokens.n && strncmp(tokens.token[low + n].account->name, name, len) == 0 &&
           tokens.token[low + n].account->name[len] == '\0')
        n++;
    return n;
}

int tokens_find(const char *text, struct visitor *out, struct err *e)
{
    const char *dot = strchr(text, '.');
    uint8_t hash[TOKEN_HASH_BYTES];
    const struct token *t;
    bool found = false;
    size_t n;

    if (hash_secret(dot ? dot + 1 : text, hash, e) != 0)
        return -1;
    pthread_rwlock_rdlock(&lock);
    n = find_account(text, dot ? (size_t)(dot - text) : 0, &t);
    for (size_t i = 0; i < n; i++) {
        if (gnutls_memcmp(t[i].hash, hash, sizeof hash) == 0 && t[i].role != ROLE_worker) {
            found = true;
            *out = (struct visitor){
                .account = t[i].account, .role = t[i].role, .list = atomic_load(&list_number)};
            memcpy(out->token, hash, sizeof hash);
        }
    }
    pthread_rwlock_unlock(&lock);
    if (found)
        return 0;
    return err_set(e, ERR_unauthorized,
                   "send the header Authorization: Bearer NAME.SECRET with a "
                   "token of this service");
}

bool tokens_still(const struct visitor *v)
{
    const char *name = v->account->name;
    const struct token *t;
    bool found = false;
    size_t n;

    if (v->list == atomic_load(&list_number))
        return true;
    pthread_rwlock_rdlock(&lock);
    n = find_account(name, strlen(name), &t);
    for (size_t i = 0; i < n; i++)
        found |= gnutls_memcmp(t[i].hash, v->token, sizeof v->token) == 0 && t[i].role == v->role;
    pthread_rwlock_unlock(&lock);
    return found;
}

uint32_t tokens_worker_keys(const char *name, uint8_t keys[][TOKEN_HASH_BYTES], uint32_t max)
{
    const struct token *t;
    uint32_t found = 0;
    size_t n;

    pthread_rwlock_rdlock(&lock);
    n = find_account(name, strlen(name), &t);
    for (size_t i = 0; i < n && found < max; i++) {
        if (t[i].role == ROLE_worker)
            memcpy(keys[found++], t[i].hash, TOKEN_HASH_BYTES);
    }
    pthread_rwlock_unlock(&lock);
    return found;
}

/* ---- new ones ---- */

static int make(const char *name, char text[TOKEN_TEXT_BYTES], uint8_t hash[TOKEN_HASH_BYTES],
                struct err *e)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[SECRET_BYTES + 1] = {0}; /* a whole number of sextets */
    int len = snprintf(text, TOKEN_TEXT_BYTES, "%s.", name);

    if (gnutls_rnd(GNUTLS_RND_KEY, random, SECRET_BYTES) != 0)
        return err_set(e, ERR_internal, "no random numbers are to be had");
    for (unsigned i = 0; i < TOKEN_SECRET_CHARS; i++) {
        unsigned bit = 6 * i, pair = (unsigned)random[bit / 8] << 8 | random[bit / 8 + 1];

        text[len++] = digits[pair >> (10 - bit % 8) & 63];
    }
    text[len] = '\0';
    gnutls_memset(random, 0, sizeof random);
    return hash_secret(strchr(text, '.') + 1, hash, e);
}

int tokens_make_only(char text[TOKEN_TEXT_BYTES], struct err *e)
{
    struct token t = {.account = account_get("admin"), .role = ROLE_admin};
    struct list list = {0};

    if (!t.account)
        return err_set(e, ERR_no_memory, "an account");
    if (make("admin", text, t.hash, e) != 0 || list_add(&list, &t, e) != 0)
        return -1;
    put(&list);
    return 0;
}

static int append(const char *path, const char *name, enum role role,
                  const uint8_t hash[TOKEN_HASH_BYTES], struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "a");
    int rc;

    if (!f) {
        rc = err_sys(e, ERR_option, errno, "open %s", path);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    fprintf(f, "%s %s ", name, roles[role]);
    for (int i = 0; i < TOKEN_HASH_BYTES; i++)
        fprintf(f, "%02x", hash[i]);
    fputc('\n', f);
    rc = fflush(f) != 0 || fsync(fd) != 0 ? err_sys(e, ERR_option, errno, "write %s", path) : 0;
    return fclose(f) != 0 && rc == 0 ? err_sys(e, ERR_option, errno, "write %s", path) : rc;
}

int tokens_add(const char *path, const char *who, char text[TOKEN_TEXT_BYTES], struct err *e)
{
    char name[LIMIT_ACCOUNT_BYTES + 16];
    uint8_t hash[TOKEN_HASH_BYTES];
    enum role role = ROLE_user;
    char *colon;

    snprintf(name, sizeof name, "%s", who);
    colon = strchr(name, ':');
    if (!colon)
        return err_set(e, ERR_option, "\"%.60s\": write NAME:ROLE, as alice:user", who);
    *colon = '\0';
    if (check_name(name, e) != 0 || read_role(colon + 1, &role, e) != 0 ||
        make(name, text, hash, e) != 0)
        return -1;
    return append(path, name, role, hash, e);
}
