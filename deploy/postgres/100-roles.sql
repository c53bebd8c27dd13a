-- The two roles of tracklane in the database that this is run in, by a superuser.
-- Running it again does no harm, and makes an installation that used one role for
-- all use two.
--
--   tracklane_owner  owns the tables: `tracklane migrate`, and `tracklane rejected
--                    retry` and `purge`
--   tracklane_app    reads the tables and adds rows, also to flights and
--                    flights_filled: `tracklane api`, `worker` and `serve`
--
-- Neither has a password yet, without which neither can log in from elsewhere.

BEGIN;

DO $$
BEGIN
    IF to_regrole('tracklane_owner') IS NULL THEN
        CREATE ROLE tracklane_owner LOGIN;
    END IF;
    IF to_regrole('tracklane_app') IS NULL THEN
        CREATE ROLE tracklane_app LOGIN;
    END IF;
    EXECUTE format('ALTER DATABASE %I OWNER TO tracklane_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO tracklane_app', current_database());
END $$;

ALTER SCHEMA public OWNER TO tracklane_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC;

-- Of every table that a migration makes.
ALTER DEFAULT PRIVILEGES FOR ROLE tracklane_owner IN SCHEMA public GRANT SELECT, INSERT ON TABLES TO tracklane_app;

-- Of the tables that are there already; those of extensions are left alone. The
-- table of the migrations' versions takes rows from its owner alone.
DO $$
DECLARE
    existing regclass;
BEGIN
    FOR existing IN
        SELECT pg_class.oid FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO tracklane_owner', existing);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, tracklane_app', existing);
        EXECUTE format('GRANT SELECT ON %s TO tracklane_app', existing);
        IF existing IS DISTINCT FROM to_regclass('public.goose_db_version') THEN
            EXECUTE format('GRANT INSERT ON %s TO tracklane_app', existing);
        END IF;
    END LOOP;
END $$;

COMMIT;
