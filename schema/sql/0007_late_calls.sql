-- 0007_late_calls.sql - ranks that have not come yet to a job that their group's calls made, and that ended without them.
-- Apart from the job's row: that may be deleted, and the ranks be as far behind as before.

CREATE TABLE late (
    job      BLOB NOT NULL PRIMARY KEY,
    grp      TEXT NOT NULL,    -- a named group, or world
    ranks    BLOB NOT NULL,    -- u32 each: its world ranks
    op       TEXT NOT NULL,    -- what was called; of a send or a receive, between
    src      INTEGER NOT NULL, -- these two group ranks
    dst      INTEGER NOT NULL,
    call_seq INTEGER NOT NULL, -- which of the calls it is, from 0
    came     BLOB NOT NULL     -- a byte a rank, 1: it had called when the job, or the service, ended, or since
) STRICT, WITHOUT ROWID;

CREATE INDEX late_grp ON late (grp);
