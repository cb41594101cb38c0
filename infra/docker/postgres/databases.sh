#!/bin/bash
# Runs once, when the database is made: each part has a user and databases of its own.
set -euo pipefail

make_user() {
    local name=$1 password
    password=$(tr -d '\n' < "/run/secrets/$2")
    psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --set password="$password" --set name="$name" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
SQL
}

make_user temporal temporal_db_password
make_user portico portico_db_password
createdb --username "$POSTGRES_USER" --owner temporal temporal
createdb --username "$POSTGRES_USER" --owner temporal temporal_visibility
createdb --username "$POSTGRES_USER" --owner portico portico
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" <<'SQL'
REVOKE CONNECT ON DATABASE portico, temporal, temporal_visibility FROM PUBLIC;
SQL
