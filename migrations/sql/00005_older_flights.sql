-- The flights of points that are older than the directory are listed part by part,
-- by the workers, while points come in. A part that has been looked through has a
-- row here, and a lane of which all have been has one with an empty part.

-- +goose Up
ALTER TABLE flights_filled
    ADD COLUMN part text NOT NULL DEFAULT '',
    DROP CONSTRAINT flights_filled_pkey,
    ADD PRIMARY KEY (lane, part);

COMMENT ON TABLE flights_filled IS 'What has been looked through for flights of older points; a lane whose rows are deleted is looked through again by the next worker that starts';
COMMENT ON COLUMN flights_filled.part IS 'A chunk or a range of blocks of the lane''s table; empty = all of it';
COMMENT ON COLUMN flights_filled.filled_at IS 'When it had been looked through';
