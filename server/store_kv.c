/* store_kv.c - rows of keys and their JSON values. */
#include "server/store_kv.h"
#include "server/store_internal.h"

#include <stdlib.h>
#include <string.h>

/* The row (version, size, expiry, value), reset by the caller: 1; 0: it is not there; -1. */
static int find(struct db *db, const char *group, const char *key, uint64_t now_us,
                sqlite3_stmt **out, struct err *e)
{
    sqlite3_stmt *s = db_stmt(db, STMT_kv_get, e);

    if (!s)
        return -1;
    bind_text(s, 1, group);
    bind_text(s, 2, key);
    bind_u64(s, 3, now_us);
    *out = s;
    return db_step(db, s, e);
}

static int read_value(sqlite3_stmt *s, struct kv_value *out, struct err *e)
{
    const unsigned char *text = sqlite3_column_text(s, 3);

    out->expires_us = column_u64(s, 2);
    out->len = (size_t)sqlite3_column_bytes(s, 3);
    out->text = malloc(out->len + 1);
    if (!text || !out->text) {
        free(out->text);
        out->text = NULL;
        return err_set(e, ERR_no_memory, "a value of %zu bytes", out->len);
    }
    memcpy(out->text, text, out->len);
    return 0;
}

/* The group was there when the request came. What was posted before us may have deleted it, and its
 * keys with it: a key that came after would be found by the next group of that name. */
static int check_group(const char *group, const struct kv_condition *when, struct err *e)
{
    sqlite3_stmt *s;
    int there;

    if (group_is_world(group)) /* has no row */
        return 0;
    s = db_stmt(store_writer(), STMT_group_made, e);
    if (!s)
        return -1;
    bind_text(s, 1, group);
    bind_u64(s, 2, when->group_us);
    there = db_step(store_writer(), s, e);
    if (there < 0)
        return -1;
    sqlite3_reset(s);
    return there ? 0
                 : err_set(e, ERR_group_unknown, "the group \"%s\" was deleted meanwhile",
                           group_short(group));
}

static bool is_one_of(const struct id *version, const struct kv_condition *when)
{
    for (uint32_t i = 0; i < when->n_versions; i++) {
        if (id_equal(&when->versions[i], version))
            return true;
    }
    return false;
}

static int check(const struct kv_condition *when, bool there, const struct id *version,
                 struct err *e)
{
    if (when->match == KV_ABSENT && there)
        return err_set(e, ERR_precondition_failed, "the key has a value already");
    if ((when->match == KV_THERE || when->match == KV_IS) && !there)
        return err_set(e, ERR_precondition_failed, "the key has no value");
    if (when->match == KV_IS && !is_one_of(version, when))
        return err_set(e, ERR_precondition_failed,
                       "the key has another value by now: read it again");
    return 0;
}

static int remove_row(const char *group, const char *key, struct err *e)
{
    sqlite3_stmt *s = db_stmt(store_writer(), STMT_kv_delete, e);

    if (!s)
        return -1;
    bind_text(s, 1, group);
    bind_text(s, 2, key);
    return db_run(store_writer(), s, e);
}

/* Has its account room for one more key? */
static int check_account(const struct store_kv_put *m, struct err *e)
{
    const struct account *a = group_owner(m->group);
    uint64_t most, keys;
    sqlite3_stmt *s;

    most = a ? atomic_load(&a->most[USE_keys]) : ACCOUNT_NO_LIMIT;
    if (most == ACCOUNT_NO_LIMIT || !a->name[0])
        return 0;
    s = db_stmt(store_writer(), STMT_kv_own, e);
    if (!s)
        return -1;
    bind_text(s, 1, a->name);
    bind_u64(s, 2, m->when.now_us);
    bind_u64(s, 3, most);
    if (db_step(store_writer(), s, e) != 1)
        return -1;
    keys = column_u64(s, 0);
    sqlite3_reset(s);
    return keys < most ? 0
                       : err_set(e, ERR_quota,
                                 "%s may have %llu keys at once: delete some, or give them a ttl",
                                 a->name, (unsigned long long)most);
}

/* Is there room for it, where there were old bytes under the key? Looks only: a refused message
 * stores nothing. */
static int check_room(const struct store_kv_put *m, bool there, uint64_t old_bytes, struct err *e)
{
    sqlite3_stmt *s;
    uint64_t keys, bytes;

    if (there && m->len <= old_bytes)
        return 0;
    s = db_stmt(store_writer(), STMT_kv_sum, e);
    if (!s)
        return -1;
    bind_u64(s, 1, m->when.now_us);
    if (db_step(store_writer(), s, e) != 1)
        return -1;
    keys = column_u64(s, 0);
    bytes = column_u64(s, 1);
    sqlite3_reset(s);
    if (!there && check_account(m, e) != 0)
        return -1;
    if (!there && keys >= LIMIT_KV_KEYS)
        return err_set(e, ERR_too_many_keys, "there are %d keys: delete some, or give them a ttl",
                       LIMIT_KV_KEYS);
    if (bytes - old_bytes + m->len <= LIMIT_KV_BYTES)
        return 0;
    return err_set(e, ERR_too_many_keys,
                   "all values have %llu bytes, and with %zu more they would have more than %llu: "
                   "delete some, or give them a ttl",
                   (unsigned long long)bytes, m->len - (size_t)old_bytes, LIMIT_KV_BYTES);
}

static int expire(uint64_t now_us, struct err *e)
{
    sqlite3_stmt *s = db_stmt(store_writer(), STMT_kv_expire, e);

    if (!s)
        return -1;
    bind_u64(s, 1, now_us);
    return db_run(store_writer(), s, e);
}

static int write_row(const struct store_kv_put *m, struct err *e)
{
    sqlite3_stmt *s = db_stmt(store_writer(), STMT_kv_put, e);

    if (!s)
        return -1;
    bind_text(s, 1, m->group);
    bind_text(s, 2, m->key);
    bind_id(s, 3, &m->version);
    bind_u64(s, 4, m->expires_us);
    bind_u64(s, 5, m->len);
    sqlite3_bind_text(s, 6, m->text, (int)m->len, SQLITE_STATIC);
    return db_run(store_writer(), s, e);
}

/* 1: there, with its version and size; 0; -1. */
static int look(const char *group, const char *key, uint64_t now_us, struct id *version,
                uint64_t *size_bytes, struct err *e)
{
    sqlite3_stmt *s;
    int rc = find(store_writer(), group, key, now_us, &s, e);

    if (rc <= 0)
        return rc;
    rc = column_id(s, 0, version);
    *size_bytes = column_u64(s, 1);
    sqlite3_reset(s);
    return rc == 0 ? 1 : store_damaged("a key", e);
}

static int put(struct store_msg *msg, struct err *e)
{
    struct store_kv_put *m = (struct store_kv_put *)msg;
    struct id version;
    uint64_t old_bytes = 0;
    int there;

    if (check_group(m->group, &m->when, e) != 0)
        return -1;
    there = look(m->group, m->key, m->when.now_us, &version, &old_bytes, e);
    if (there < 0 || check(&m->when, there, &version, e) != 0 ||
        (!m->back && check_room(m, there, old_bytes, e) != 0))
        return -1;
    m->created = !there;
    return expire(m->when.now_us, e) != 0 ? -1 : write_row(m, e);
}

void store_kv_put_init(struct store_kv_put *m)
{
    m->msg.apply = put;
}

static int take(struct store_msg *msg, struct err *e)
{
    struct store_kv_take *m = (struct store_kv_take *)msg;
    sqlite3_stmt *s;
    int rc;

    free(m->value.text); /* of a run that was rolled back */
    m->value.text = NULL;
    if (check_group(m->group, &m->when, e) != 0)
        return -1;
    rc = find(store_writer(), m->group, m->key, m->when.now_us, &s, e);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return check(&m->when, false, NULL, e) != 0
                   ? -1
                   : err_set(e, ERR_key_unknown, "the key %s has no value", m->key);
    rc = column_id(s, 0, &m->value.version);
    if (rc != 0)
        store_damaged("a key", e);
    else if (check(&m->when, true, &m->value.version, e) != 0 || read_value(s, &m->value, e) != 0)
        rc = -1;
    sqlite3_reset(s);
    return rc != 0 ? -1 : remove_row(m->group, m->key, e);
}

void store_kv_take_init(struct store_kv_take *m)
{
    m->msg.apply = take;
}

int store_kv_forget(const char *group, struct err *e)
{
    sqlite3_stmt *s = db_stmt(store_writer(), STMT_kv_forget, e);

    if (!s)
        return -1;
    bind_text(s, 1, group);
    return db_run(store_writer(), s, e);
}

int store_kv_read(const char *group, const char *key, uint64_t now_us, struct kv_value *out,
                  struct err *e)
{
    struct db *db = store_reader(e);
    sqlite3_stmt *s;
    int rc = db ? find(db, group, key, now_us, &s, e) : -1;

    if (rc <= 0)
        return rc == 0 ? 1 : -1;
    rc = column_id(s, 0, &out->version);
    if (rc != 0)
        store_damaged("a key", e);
    else
        rc = read_value(s, out, e);
    sqlite3_reset(s);
    return rc;
}

int store_kv_list(const char *group, const char *prefix, const char *after, uint64_t now_us,
                  struct kv_row *out, uint32_t max, uint32_t *n, struct err *e)
{
    struct db *db = store_reader(e);
    sqlite3_stmt *s = db ? db_stmt(db, STMT_kv_list, e) : NULL;
    int rc;

    *n = 0;
    if (!s)
        return -1;
    bind_text(s, 1, group);
    bind_text(s, 2, prefix);
    bind_text(s, 3, after);
    bind_u64(s, 4, now_us);
    bind_u64(s, 5, max);
    while ((rc = db_step(db, s, e)) == 1) {
        struct kv_row *row = &out[*n];

        if (column_text(s, 0, row->key, sizeof row->key) != 0 ||
            column_id(s, 1, &row->version) != 0) {
            sqlite3_reset(s);
            return store_damaged("a key", e);
        }
        row->size_bytes = column_u64(s, 2);
        row->expires_us = column_u64(s, 3);
        ++*n;
    }
    return rc;
}
