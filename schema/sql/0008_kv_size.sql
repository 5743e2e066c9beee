-- 0008_kv_size.sql - values are added up, and listed, without being read: their sizes stand before them.

CREATE TABLE kv_sized (
    grp        TEXT NOT NULL,    -- a named group, or world
    key        TEXT NOT NULL,
    version    BLOB NOT NULL,    -- 16 bytes: an id of this value, its ETag
    expires_us INTEGER NOT NULL, -- a moment: from then on it is not there; the largest integer: never
    size_bytes INTEGER NOT NULL, -- of value
    value      TEXT NOT NULL,    -- JSON, as it came; last: what stands behind a long one is slow to read
    UNIQUE (grp, key)
) STRICT;

INSERT INTO kv_sized(grp,key,version,expires_us,size_bytes,value)
    SELECT grp,key,version,expires_us,length(CAST(value AS BLOB)),value FROM kv;
DROP TABLE kv;
ALTER TABLE kv_sized RENAME TO kv;

CREATE INDEX kv_room ON kv (expires_us, size_bytes); -- and so their sum
