-- 0009_key_text.sql - the same request again, although what it names is gone by now.

ALTER TABLE idem ADD COLUMN text BLOB; -- 16 bytes: a hash of the request as it was written, of one in JSON; NULL: of none
