-- 0007_late_calls.sql - ranks that have not come yet to a job that their group's calls made.

ALTER TABLE job ADD COLUMN came BLOB;                       -- a byte a rank, 1: it had called when the job ended, or the
                                                            -- service; NULL: all had, or nobody else may come to it
CREATE INDEX job_came ON job (group_name) WHERE came IS NOT NULL; -- what those who come late are to hear of
