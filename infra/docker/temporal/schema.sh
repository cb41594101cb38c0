#!/bin/sh
# Brings both of Temporal's databases to the schema of this version. May be repeated.
set -eu
SQL_PASSWORD=$(tr -d '\n' < /run/secrets/temporal_db_password)
export SQL_PASSWORD SQL_PLUGIN=postgres12 SQL_HOST=postgres SQL_PORT=5432 SQL_USER=temporal

for database in temporal visibility; do
    if [ "$database" = temporal ]; then name=temporal; else name=temporal_visibility; fi
    temporal-sql-tool --db "$name" setup-schema -v 0.0 || true  # there already
    temporal-sql-tool --db "$name" update-schema --schema-name "postgresql/v12/$database"
done
