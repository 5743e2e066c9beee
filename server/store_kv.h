/* store_kv.h - key-value rows: messages to the store, and reads. All changes of a key are made one
 * after another by the store's thread, each on what the last one left. */
#ifndef TUTTI_SERVER_STORE_KV_H
#define TUTTI_SERVER_STORE_KV_H

#include "server/store.h"

enum kv_match { KV_ANY, KV_IS, KV_THERE, KV_ABSENT };

/* What must be so for a change to be made, and when that is. */
struct kv_condition {
    enum kv_match match;
    const struct id *versions; /* KV_IS: one of these */
    uint32_t n_versions;
    uint64_t now_us;   /* wall: what has expired is not there */
    uint64_t group_us; /* when the group was made: one of its name that is made later is another */
};

struct store_kv_put {
    struct store_msg msg;
    const char *group, *key, *text; /* len bytes of JSON */
    size_t len;
    struct kv_condition when;
    uint64_t expires_us; /* wall; UINT64_MAX: never */
    struct id version;   /* the new one */
    bool back;           /* it was there a moment ago: has the room that it had */
    bool created;        /* out: it was not there */
};
/* apply: ERR_group_unknown, ERR_precondition_failed, ERR_too_many_keys. Expired rows are removed by
 * the way. */
void store_kv_put_init(struct store_kv_put *m);

struct kv_value {
    char *text; /* malloc'd, the owner's; not terminated */
    size_t len;
    struct id version;
    uint64_t expires_us; /* wall; UINT64_MAX: never */
};

struct store_kv_take { /* removes it and gives it */
    struct store_msg msg;
    const char *group, *key;
    struct kv_condition when;
    struct kv_value value; /* out */
};
/* apply: ERR_group_unknown, ERR_key_unknown, ERR_precondition_failed, ERR_no_memory. */
void store_kv_take_init(struct store_kv_take *m);

/* Within the message that deletes the group. */
int store_kv_forget(const char *group, struct err *e);

/* Any thread. Returns 0, 1 when it is not there, or -1. */
int store_kv_read(const char *group, const char *key, uint64_t now_us, struct kv_value *out,
                  struct err *e);

struct kv_row {
    char key[LIMIT_KV_KEY_BYTES + 1];
    struct id version;
    uint64_t size_bytes, expires_us;
};

/* Keys that begin with prefix and come after `after`, in order, up to max. Returns 0 or -1. */
int store_kv_list(const char *group, const char *prefix, const char *after, uint64_t now_us,
                  struct kv_row *out, uint32_t max, uint32_t *n, struct err *e);

#endif
