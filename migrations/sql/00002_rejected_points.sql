-- What was accepted and the database then refused: one point, or the whole
-- payload of a task that cannot be read as points.

-- +goose Up
CREATE TABLE rejected_points (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane        text NOT NULL,
    point       jsonb,
    payload     bytea,
    error       text NOT NULL,
    sqlstate    text,
    task_id     text,
    received_at timestamptz,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rejected_points_point_or_payload CHECK (num_nonnulls(point, payload) = 1)
);

COMMENT ON TABLE rejected_points IS 'Accepted points that could not be stored: `tracklane rejected` lists, retries and purges them';
COMMENT ON COLUMN rejected_points.lane IS 'The lane that the point came in on, such as live';
COMMENT ON COLUMN rejected_points.point IS 'The point, when the database refused it';
COMMENT ON COLUMN rejected_points.payload IS 'The payload of the task, when it cannot be read as points';
COMMENT ON COLUMN rejected_points.error IS 'Why, in words';
COMMENT ON COLUMN rejected_points.sqlstate IS 'PostgreSQL''s error code, when the database refused the point';
COMMENT ON COLUMN rejected_points.task_id IS 'The task that brought the point';
COMMENT ON COLUMN rejected_points.received_at IS 'When the API accepted the point, where that is known';
COMMENT ON COLUMN rejected_points.rejected_at IS 'When the point or payload was put here';
