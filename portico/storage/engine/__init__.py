"""Database engines: SQLCipher and PostgreSQL, migrations."""
