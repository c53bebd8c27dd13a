-- A point or payload is rejected once, however often its task is tried: the
-- writer fills key with a hash of it and passes over one that is there.
--
-- Of rows that were alike before, the first gets the key and the others stay as
-- they are.

-- +goose Up
ALTER TABLE rejected_points ADD COLUMN key bytea;

UPDATE rejected_points SET key = first.key
FROM (
    SELECT DISTINCT ON (lane, hashed.key) id, hashed.key
    FROM rejected_points CROSS JOIN LATERAL (
        SELECT sha256(coalesce(payload, convert_to((point - 'received_at')::text, 'UTF8'))) AS key
    ) AS hashed
    ORDER BY lane, hashed.key, id
) AS first
WHERE rejected_points.id = first.id;

ALTER TABLE rejected_points ADD CONSTRAINT rejected_points_once UNIQUE (lane, key);

COMMENT ON COLUMN rejected_points.key IS 'SHA-256 of the payload, or of the point without its received_at; null in rows that are like an older one';
