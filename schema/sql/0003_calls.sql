-- 0003_calls.sql - jobs that every rank calls by itself.

ALTER TABLE job ADD COLUMN call_seq INTEGER; -- which of its ranks' calls on the group it is, from 0; NULL: no calls
CREATE INDEX idem_job ON idem (job);         -- a job of calls has a key a rank
