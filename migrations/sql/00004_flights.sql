-- The directory of flights: which of them have points, on which days. A writer
-- adds a row before it writes the first point that needs one, so a flight that
-- has points is listed; one that is listed may have none, as when the points were
-- refused or dropped by age. Facts of a flight are read from its points.
--
-- Of points without a pilot or a race, pilot_id and race_id are empty. A flight of
-- a Flymaster device is what it sent on one day: SERIAL-YYYYMMDD.

-- +goose Up
CREATE TABLE flights (
    lane      text COLLATE "C" NOT NULL,
    flight_id text COLLATE "C" NOT NULL,
    day       date NOT NULL,
    pilot_id  text COLLATE "C" NOT NULL,
    race_id   text COLLATE "C" NOT NULL,
    PRIMARY KEY (lane, flight_id, day, pilot_id, race_id)
);

CREATE INDEX flights_newest ON flights (day, lane, flight_id, pilot_id, race_id);
CREATE INDEX flights_of_race ON flights (race_id, day, lane, flight_id) WHERE race_id <> '';
CREATE INDEX flights_of_pilot ON flights (pilot_id, day, lane, flight_id) WHERE pilot_id <> '';

COMMENT ON TABLE flights IS 'Which flights have points, in which lane and on which days';
COMMENT ON COLUMN flights.lane IS 'The lane that the points came in on, such as live';
COMMENT ON COLUMN flights.flight_id IS 'The flight; of the lane flymaster, the device and the day';
COMMENT ON COLUMN flights.day IS 'A day, in UTC, on which the flight has points';
COMMENT ON COLUMN flights.pilot_id IS 'The pilot of points of that day, or empty';
COMMENT ON COLUMN flights.race_id IS 'The race of points of that day, or empty';

CREATE TABLE flights_filled (
    lane      text PRIMARY KEY,
    filled_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE flights_filled IS 'Lanes whose older points have been looked through for flights; a row that is deleted makes `tracklane migrate up` do so again';
