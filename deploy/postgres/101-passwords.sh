#!/bin/sh
# Gives the two roles of 100-roles.sql their passwords, from the environment. psql
# finds the server by POSTGRES_USER and POSTGRES_DB, as the images of PostgreSQL and
# TimescaleDB set them, and by its own variables.
set -eu
: "${POSTGRES_OWNER_PASSWORD:?must be set}" "${POSTGRES_APP_PASSWORD:?must be set}"
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv owner_password POSTGRES_OWNER_PASSWORD
\getenv app_password POSTGRES_APP_PASSWORD
ALTER ROLE tracklane_owner PASSWORD :'owner_password';
ALTER ROLE tracklane_app PASSWORD :'app_password';
SQL
