-- What the worker knows of tools, for api and CLI; and the files that runs keep.

CREATE TABLE tools (
    name TEXT PRIMARY KEY,
    spec TEXT NOT NULL
);

CREATE TABLE tool_problems (
    position INTEGER PRIMARY KEY,
    problem TEXT NOT NULL
);

-- One row once a worker has told what there is.
CREATE TABLE tools_published (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at REAL NOT NULL
);

CREATE TABLE artifacts (
    invocation_id TEXT NOT NULL,
    name TEXT NOT NULL,
    person_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    blob_key TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (invocation_id, name)
);
CREATE INDEX artifacts_by_age ON artifacts (created_at);
