-- Times at which this database was put back from a backup, and when that was made.

CREATE TABLE restores (
    made_at REAL NOT NULL,
    restored_at REAL NOT NULL
);
