/* tensor.h - immutable arrays: id -> dtype, shape, and where the bytes live.
 *
 * A tensor is filled by its maker and never changes once published. The table is behind one mutex
 * (named in ARCHITECTURE.md); all functions are safe from any thread. Finding one gives a
 * reference, which keeps the bytes also when the tensor is removed from the table meanwhile.
 */
#ifndef TUTTI_SERVER_TENSOR_H
#define TUTTI_SERVER_TENSOR_H

#include "schema/dtype.h"
#include "schema/shape.h"
#include "server/account.h"
#include "server/extent.h"
#include "server/id.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A tensor's copies on devices. resident.c's, but for what is said here. */
struct residence {
    /* Called when the tensor is freed, by whichever thread frees it. */
    void (*gone)(struct residence *h);
    atomic_bool lost; /* no device has a copy any more. Any thread may read it */
};

struct tensor {
    struct id id;
    struct account *owner;
    enum dtype dtype;
    struct shape shape;
    uint64_t size_bytes;
    struct extent *_Atomic extent; /* one reference is the tensor's; NULL when lost, or (yet) on
                                      devices only: it comes once, from the core thread */
    struct residence *home;        /* NULL: it never was on a device */
    struct promise *promise;       /* promise.h; NULL: it is a tensor */
    uint64_t offset;               /* of the first byte, within the extent */
    struct id job;                 /* that made it; zero when uploaded */
    uint64_t created_us;           /* wall */
    uint64_t expires_us; /* wall; UINT64_MAX while an unfinished job holds it. Under the mutex:
                            tensor_expire */
    atomic_uint refs;
    struct tensor *next; /* in the table's bucket; the table's, as is all below */
    size_t due_slot;     /* in the table's heap of expiries; 0: not there */
    uint64_t due_us; /* when retention looks at it: expires_us, or later when it was held then */
    bool published;
};

int tensor_table_init(struct err *e);
void tensor_table_fini(void); /* removes every tensor */

/* A tensor with a fresh id and one reference, not in the table. Takes a reference of its own to
 * extent. Returns NULL only when out of memory. */
struct tensor *tensor_new(enum dtype d, const struct shape *s, struct extent *extent,
                          uint64_t offset);

struct tensor *tensor_ref(struct tensor *t);
void tensor_unref(struct tensor *t); /* NULL is ignored */

/* Puts it in the table, which takes a reference of its own. Returns 0 or -1 (no memory). */
int tensor_publish(struct tensor *t);

/* A new reference, or NULL. */
struct tensor *tensor_find(const struct id *id);

/* Takes it out of the table and hands the table's reference to the caller; NULL when it is not
 * there. The caller unrefs only after the database has forgotten it: an extent must not be reused
 * while a restart could still find the old row. */
struct tensor *tensor_remove(const struct id *id);

/* Sets when retention may remove it. */
void tensor_expire(struct tensor *t, uint64_t wall_us);

/* The same for all in the table of which `which` says so, unless they may go sooner. Looks at every
 * one. */
void tensor_expire_all(bool (*which)(const struct tensor *t, const void *arg), const void *arg,
                       uint64_t wall_us);

/* Removes up to max tensors that expired before now and that nobody else holds; hands over the
 * table's references. One that is held is looked at again a second later. Returns how many. */
uint32_t tensor_take_expired(uint64_t now_wall_us, struct tensor **out, uint32_t max);

/* Its bytes are on devices only: resident_want brings them to the arena. */
bool tensor_away(const struct tensor *t);

/* Its bytes are nowhere. */
bool tensor_lost(const struct tensor *t);

/* The first byte; valid while a reference is held. NULL when lost or away. */
uint8_t *tensor_data(const struct tensor *t);

/* Where a restart finds its bytes again; NULL: it does not, since they are on devices or in a
 * region. */
const struct extent *tensor_kept_extent(const struct tensor *t);

/* Offset of the first byte in the arena. */
uint64_t tensor_arena_offset(const struct tensor *t);

uint64_t tensor_count(void);

#endif
