-- Each person's own files; their content lies in encrypted blobs.

CREATE TABLE workspace_files (
    person_id TEXT NOT NULL,
    path TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    blob_key TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    modified_at REAL NOT NULL,
    PRIMARY KEY (person_id, path)
);
