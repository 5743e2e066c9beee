-- 0013_staging.sql - how long a job's tensors were on their way to other hosts and back.

ALTER TABLE job ADD COLUMN staging_us INTEGER NOT NULL DEFAULT 0; -- in all of its attempts; 0: its ranks are on the
                                                                  -- server's machine
