-- One table for each lane. The key drops second copies of a point; received_at
-- is when the API accepted it.
--
-- The key serves one flight's points in order of time. There is no index on
-- time alone: it would slow each insert down, and with TimescaleDB a range of
-- time over all flights reads only the chunks of that range. Where such queries
-- are frequent and inserts are not, create one.
--
-- The flight's id is compared byte by byte: several times faster than by the
-- rules of a language, which nobody expects of an id.

-- +goose Up
CREATE TABLE live_track_points (
    flight_id           text COLLATE "C" NOT NULL,
    datetime            timestamptz NOT NULL,
    lat                 float8 NOT NULL,
    lon                 float8 NOT NULL,
    elevation           float8,
    barometric_altitude float8,
    speed               float8,
    heading             float8,
    device_id           text,
    pilot_id            text,
    race_id             text,
    received_at         timestamptz NOT NULL,
    PRIMARY KEY (flight_id, datetime, lat, lon)
);

COMMENT ON TABLE live_track_points IS 'Fixes of flights in progress, as posted to /live';
COMMENT ON COLUMN live_track_points.flight_id IS 'The flight, as its sender names it';
COMMENT ON COLUMN live_track_points.datetime IS 'Time of the fix';
COMMENT ON COLUMN live_track_points.lat IS 'WGS 84 latitude, degrees north, -90 to 90';
COMMENT ON COLUMN live_track_points.lon IS 'WGS 84 longitude, degrees east, -180 to 180';
COMMENT ON COLUMN live_track_points.elevation IS 'Altitude, m';
COMMENT ON COLUMN live_track_points.barometric_altitude IS 'Altitude by air pressure, m';
COMMENT ON COLUMN live_track_points.speed IS 'm/s';
COMMENT ON COLUMN live_track_points.heading IS 'Degrees, 0 to 360';
COMMENT ON COLUMN live_track_points.device_id IS 'The device, as its sender names it';
COMMENT ON COLUMN live_track_points.pilot_id IS 'The pilot, as the sender names them';
COMMENT ON COLUMN live_track_points.race_id IS 'The race, as its sender names it';
COMMENT ON COLUMN live_track_points.received_at IS 'When the API accepted the point';

CREATE TABLE uploaded_track_points (
    flight_id           text COLLATE "C" NOT NULL,
    datetime            timestamptz NOT NULL,
    lat                 float8 NOT NULL,
    lon                 float8 NOT NULL,
    elevation           float8,
    barometric_altitude float8,
    speed               float8,
    heading             float8,
    device_id           text,
    pilot_id            text,
    race_id             text,
    received_at         timestamptz NOT NULL,
    PRIMARY KEY (flight_id, datetime, lat, lon)
);

COMMENT ON TABLE uploaded_track_points IS 'Fixes of whole flights, as posted to /upload';
COMMENT ON COLUMN uploaded_track_points.flight_id IS 'The flight, as its sender names it';
COMMENT ON COLUMN uploaded_track_points.datetime IS 'Time of the fix';
COMMENT ON COLUMN uploaded_track_points.lat IS 'WGS 84 latitude, degrees north, -90 to 90';
COMMENT ON COLUMN uploaded_track_points.lon IS 'WGS 84 longitude, degrees east, -180 to 180';
COMMENT ON COLUMN uploaded_track_points.elevation IS 'Altitude, m';
COMMENT ON COLUMN uploaded_track_points.barometric_altitude IS 'Altitude by air pressure, m';
COMMENT ON COLUMN uploaded_track_points.speed IS 'm/s';
COMMENT ON COLUMN uploaded_track_points.heading IS 'Degrees, 0 to 360';
COMMENT ON COLUMN uploaded_track_points.device_id IS 'The device, as its sender names it';
COMMENT ON COLUMN uploaded_track_points.pilot_id IS 'The pilot, as the sender names them';
COMMENT ON COLUMN uploaded_track_points.race_id IS 'The race, as its sender names it';
COMMENT ON COLUMN uploaded_track_points.received_at IS 'When the API accepted the point';

CREATE TABLE flymaster (
    device_id   bigint NOT NULL,
    date_time   timestamptz NOT NULL,
    lat         float8 NOT NULL,
    lon         float8 NOT NULL,
    gps_alt     float8,
    speed       float8,
    heading     float8,
    uploaded_at timestamptz,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, date_time, lat, lon)
);

COMMENT ON TABLE flymaster IS 'Fixes of Flymaster devices, as posted to /flymaster';
COMMENT ON COLUMN flymaster.device_id IS 'Serial number of the device';
COMMENT ON COLUMN flymaster.date_time IS 'Time of the fix';
COMMENT ON COLUMN flymaster.lat IS 'WGS 84 latitude, degrees north, -90 to 90';
COMMENT ON COLUMN flymaster.lon IS 'WGS 84 longitude, degrees east, -180 to 180';
COMMENT ON COLUMN flymaster.gps_alt IS 'Altitude by satellite, as the device sends it (m)';
COMMENT ON COLUMN flymaster.speed IS 'Speed, as the device sends it';
COMMENT ON COLUMN flymaster.heading IS 'Degrees, 0 to 360';
COMMENT ON COLUMN flymaster.uploaded_at IS 'When the device began to track';
COMMENT ON COLUMN flymaster.received_at IS 'When the API accepted the point';

CREATE TABLE scoring_tracks (
    flight_uuid          uuid NOT NULL,
    date_time            timestamptz NOT NULL,
    lat                  float8 NOT NULL,
    lon                  float8 NOT NULL,
    gps_alt              float8,
    "time"               text,
    rounded_time         text,
    validity             text,
    pressure_alt         float8,
    lad                  float8,
    lod                  float8,
    speed                float8,
    elevation            float8,
    altitude_diff        float8,
    altitude_diff_smooth float8,
    speed_smooth         float8,
    takeoff_condition    boolean,
    in_flight            boolean,
    received_at          timestamptz NOT NULL,
    PRIMARY KEY (flight_uuid, date_time, lat, lon)
);

COMMENT ON TABLE scoring_tracks IS 'Fixes prepared for scoring, as posted to /scoring';
COMMENT ON COLUMN scoring_tracks.flight_uuid IS 'The flight; made by the API when its sender gave none';
COMMENT ON COLUMN scoring_tracks.date_time IS 'Time of the fix';
COMMENT ON COLUMN scoring_tracks.lat IS 'WGS 84 latitude, degrees north, -90 to 90';
COMMENT ON COLUMN scoring_tracks.lon IS 'WGS 84 longitude, degrees east, -180 to 180';
COMMENT ON COLUMN scoring_tracks.gps_alt IS 'Altitude by satellite, m';
COMMENT ON COLUMN scoring_tracks."time" IS 'Time of the fix, as its sender writes it';
COMMENT ON COLUMN scoring_tracks.rounded_time IS 'Rounded time of the fix, as its sender writes it';
COMMENT ON COLUMN scoring_tracks.validity IS 'Validity of the fix, as in an IGC file: A for three dimensions, V for two or none';
COMMENT ON COLUMN scoring_tracks.pressure_alt IS 'Altitude by air pressure, m';
COMMENT ON COLUMN scoring_tracks.lad IS 'LAD of the request: more digits of the latitude';
COMMENT ON COLUMN scoring_tracks.lod IS 'LOD of the request: more digits of the longitude';
COMMENT ON COLUMN scoring_tracks.speed IS 'm/s';
COMMENT ON COLUMN scoring_tracks.elevation IS 'Altitude, m';
COMMENT ON COLUMN scoring_tracks.altitude_diff IS 'Change of altitude since the fix before, m';
COMMENT ON COLUMN scoring_tracks.altitude_diff_smooth IS 'altitude_diff, smoothed, m';
COMMENT ON COLUMN scoring_tracks.speed_smooth IS 'speed, smoothed, m/s';
COMMENT ON COLUMN scoring_tracks.takeoff_condition IS 'Whether the fix meets the condition for take-off';
COMMENT ON COLUMN scoring_tracks.in_flight IS 'Whether the pilot is in flight';
COMMENT ON COLUMN scoring_tracks.received_at IS 'When the API accepted the point';
