-- 0010_owner.sql - whose it is. '' where nobody was asked who they are. A group of an account has its name in front:
-- grp.name, job.group_name, kv.grp and late.grp are 'alice/pair', and 'alice/world' of the world as alice sees it.

ALTER TABLE job ADD COLUMN owner TEXT NOT NULL DEFAULT '';    -- an account's name
ALTER TABLE tensor ADD COLUMN owner TEXT NOT NULL DEFAULT ''; -- as its job's, or its uploader's

CREATE INDEX job_owner ON job (owner, id) WHERE owner <> ''; -- lists of an account's own
