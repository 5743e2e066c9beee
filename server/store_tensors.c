/* store_tensors.c - rows of published tensors: where the bytes lie in the arena. */
#include "server/store_internal.h"

int tensor_insert_row(struct db *db, const struct tensor *t, struct err *e)
{
    sqlite3_stmt *s = db_stmt(db, STMT_tensor_insert, e);
    const struct extent *x = tensor_kept_extent(
        t); /* once: a resident tensor may get one at any moment */
    uint8_t shape[8 * LIMIT_NDIM];

    if (!s)
        return -1;
    bind_id(s, 1, &t->id);
    bind_text(s, 2, dtypes[t->dtype].name);
    bind_blob(s, 3, shape, shape_to_blob(&t->shape, shape));
    bind_u64(s, 4, x ? extent_offset(x) : 0);
    bind_u64(s, 5, x ? extent_size(x) : t->size_bytes);
    bind_u64(s, 6, x ? t->offset : 0);
    bind_id(s, 7, &t->job);
    bind_u64(s, 8, t->created_us);
    bind_u64(s, 9, t->expires_us);
    bind_u64(s, 10, !x);
    bind_text(s, 11, t->owner->name);
    flush_name(t);
    return db_run(db, s, e);
}

static int insert(struct store_msg *m, struct err *e)
{
    return tensor_insert_row(store_writer(), ((struct store_tensor_insert *)m)->tensor, e);
}

void store_tensor_insert_init(struct store_tensor_insert *m)
{
    m->msg.apply = insert;
}

static int move(struct store_msg *msg, struct err *e)
{
    const struct store_tensor_move *m = (struct store_tensor_move *)msg;
    struct db *db = store_writer();
    sqlite3_stmt *s = db_stmt(db, STMT_tensor_move, e);

    if (!s)
        return -1;
    bind_id(s, 1, &m->id);
    bind_u64(s, 2, m->extent_offset);
    bind_u64(s, 3, m->extent_bytes);
    bind_u64(s, 4, m->offset);
    return db_run(db, s, e);
}

void store_tensor_move_init(struct store_tensor_move *m)
{
    m->msg.apply = move;
}

int tensor_rows_delete(struct tensor *const *tensors, uint32_t n, struct err *e)
{
    struct db *db = store_writer();

    for (uint32_t i = 0; i < n; i++) {
        sqlite3_stmt *s = db_stmt(db, STMT_tensor_delete, e);

        if (!s)
            return -1;
        bind_id(s, 1, &tensors[i]->id);
        if (db_run(db, s, e) != 0)
            return -1;
    }
    return 0;
}

static int delete (struct store_msg *msg, struct err *e)
{
    struct store_tensor_delete *m = (struct store_tensor_delete *)msg;

    return tensor_rows_delete(m->tensors, m->n, e);
}

void store_tensor_delete_init(struct store_tensor_delete *m)
{
    m->msg.apply = delete;
}
