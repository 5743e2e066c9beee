-- 0011_times.sql - when each rank was at it: a job's timeline, rank by rank.

ALTER TABLE job ADD COLUMN sent_us INTEGER NOT NULL DEFAULT 0; -- from received to RUN sent, of the last attempt; 0: it
                                                               -- never ran, or before there was such a column
ALTER TABLE job ADD COLUMN times BLOB; -- 16 bytes a rank: u64 nanoseconds from received to its start and to its end, both
                                       -- 0: it never said; NULL: it never ran, or before there was such a column
