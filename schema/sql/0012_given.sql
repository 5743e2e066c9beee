-- 0012_given.sql - what a job was given, once it is finished and its inputs are gone. Of the two at most one is there, and
-- neither when not all of it had come, or before there were such columns.

ALTER TABLE job ADD COLUMN given BLOB;     -- the bytes of every rank that gives, one after another, when they are few
ALTER TABLE job ADD COLUMN given_ids BLOB; -- else 16 bytes a rank: tensor id, 0 of one that gives nothing
