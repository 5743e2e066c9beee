-- 0002_resident.sql - jobs whose outputs stay on their ranks' devices.
--
-- A tensor that lives on devices alone has a row that says lost = 1: after a restart that is what it is. When its
-- bytes come to the arena the row gets their place.

ALTER TABLE job ADD COLUMN resident INTEGER NOT NULL DEFAULT 0; -- 1: its outputs stay on their devices
