-- 0005_kv.sql - JSON values that ranks of a group leave for each other.

CREATE TABLE kv (
    grp        TEXT NOT NULL,    -- a named group, or world
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,    -- JSON, as it came
    version    BLOB NOT NULL,    -- 16 bytes: an id of this value, its ETag
    expires_us INTEGER NOT NULL, -- a moment: from then on it is not there; the largest integer: never
    UNIQUE (grp, key)
) STRICT;

CREATE INDEX kv_expires ON kv (expires_us);
