-- 0001_init.sql - the first schema. Immutable once landed: change it by a new file.
--
-- Names of operations, dtypes, states and errors are text, never an enumerator's number, so that a
-- row means the same to every build. Integers in blobs are little endian. Ids are ULIDs: 16 bytes, big
-- endian, so they sort by time, new rows go to the right edge of a table, and a page of "the newest" is
-- one walk from there. Every index slows each insert, so there are few, and partial ones where they can be.

CREATE TABLE meta (          -- single facts
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE grp (           -- named groups; `world` is not stored
    name       TEXT NOT NULL PRIMARY KEY,
    ranks      BLOB NOT NULL,    -- u32 each: world ranks in group order
    created_us INTEGER NOT NULL  -- wall time, microseconds since 1970, as are all *_us that name a moment
) STRICT, WITHOUT ROWID;

CREATE TABLE job (
    id            BLOB NOT NULL PRIMARY KEY,
    state         TEXT NOT NULL,    -- queued (that is: not finished), succeeded, failed, cancelled
    op            TEXT NOT NULL,
    group_name    TEXT NOT NULL,    -- '' for a list without a name
    ranks         BLOB NOT NULL,    -- u32 each: world ranks in group order; the group may be deleted since
    split_axis    INTEGER NOT NULL, -- as asked: negative counts from the end
    concat_axis   INTEGER NOT NULL,
    src           INTEGER NOT NULL, -- group ranks
    dst           INTEGER NOT NULL,
    dtype         TEXT NOT NULL,
    in_shape      BLOB NOT NULL,    -- u64 each dimension, of every input
    out_shape     BLOB NOT NULL,    -- of every output
    priority      INTEGER NOT NULL,
    stream        INTEGER NOT NULL,
    timeout_us    INTEGER NOT NULL,
    label         TEXT NOT NULL,    -- the client's word, '' for none
    attempts      INTEGER NOT NULL, -- runs begun
    error_code    TEXT,             -- why it failed or was cancelled; NULL otherwise, as are the next five
    error_detail  TEXT,
    error_pointer TEXT,
    error_ranks   BLOB,             -- u32 each: ranks the error names
    error_asked   INTEGER,          -- bytes: what a full arena was asked for
    error_free    INTEGER,          -- bytes: what it had
    received_us   INTEGER NOT NULL, -- a moment; the next five are durations in microseconds
    validated_us  INTEGER NOT NULL, -- from received
    queued_us     INTEGER NOT NULL, -- from validated
    dispatch_us   INTEGER NOT NULL, -- from queued, of the last attempt
    collective_us INTEGER NOT NULL, -- first rank's start to last rank's end
    total_us      INTEGER NOT NULL, -- from received to the end
    finished_us   INTEGER NOT NULL, -- a moment; 0: not finished
    inputs        BLOB,             -- until it is finished, a rank each: tensor id (16 bytes, 0: gives
                                    -- nothing), then u64: extent offset, extent bytes, offset in the extent.
                                    -- NULL: finished, or the bytes did not survive a restart
    outputs       BLOB,             -- once it succeeded, 16 bytes a rank: tensor id, 0 where it gets nothing
    key           TEXT              -- its Idempotency-Key
) STRICT, WITHOUT ROWID;

CREATE INDEX job_unfinished ON job (id) WHERE state = 'queued';              -- recovery
CREATE INDEX job_bad ON job (state, id) WHERE state IN ('failed', 'cancelled'); -- lists of the rare states
CREATE INDEX job_label ON job (label, id) WHERE label <> '';                 -- lists by label

CREATE TABLE tensor (        -- published tensors: uploads and outputs
    id            BLOB NOT NULL PRIMARY KEY,
    dtype         TEXT NOT NULL,
    shape         BLOB NOT NULL,    -- u64 each dimension
    extent_offset INTEGER NOT NULL, -- bytes from the arena's start; several tensors may share an extent
    extent_bytes  INTEGER NOT NULL,
    offset        INTEGER NOT NULL, -- bytes from the extent's start
    job           BLOB NOT NULL,    -- that made it; 16 zero bytes for an upload
    created_us    INTEGER NOT NULL,
    expires_us    INTEGER NOT NULL, -- when it may be removed; the largest integer: never
    lost          INTEGER NOT NULL  -- 1: the arena that held it is gone
) STRICT, WITHOUT ROWID;

CREATE TABLE idem (          -- Idempotency-Keys; a key lives as long as its job
    key    TEXT NOT NULL PRIMARY KEY,
    job    BLOB NOT NULL,
    digest BLOB NOT NULL     -- 16 bytes: a hash of what the request meant
) STRICT, WITHOUT ROWID;
