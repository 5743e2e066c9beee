/* store_groups.c - rows of named groups, and single facts. */
#include "server/store_internal.h"
#include "server/store_kv.h"

static int insert(struct store_msg *m, struct err *e)
{
    const struct group *g = ((struct store_group_insert *)m)->group;
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_group_insert, e);
    uint8_t ranks[4 * LIMIT_RANKS];

    if (!s)
        return -1;
    bind_text(s, 1, g->name);
    bind_blob(s, 2, ranks, ranks_to_blob(g->ranks, g->n, ranks));
    bind_u64(s, 3, g->created_us);
    return db_run(db, s, e);
}

void store_group_insert_init(struct store_group_insert *m)
{
    m->msg.apply = insert;
}

static int delete (struct store_msg *m, struct err *e)
{
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_group_delete, e);

    if (!s)
        return -1;
    bind_text(s, 1, ((struct store_group_delete *)m)->name);
    if (db_run(db, s, e) != 0)
        return -1;
    s = db_stmt(db, STMT_late_forget, e); /* nobody comes late to its calls any more */
    if (!s)
        return -1;
    bind_text(s, 1, ((struct store_group_delete *)m)->name);
    return db_run(db, s, e) != 0 ? -1 : store_kv_forget(((struct store_group_delete *)m)->name, e);
}

void store_group_delete_init(struct store_group_delete *m)
{
    m->msg.apply = delete;
}
