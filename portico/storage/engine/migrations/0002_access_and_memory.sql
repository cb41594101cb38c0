-- Who may come in, what was said, and what could not be done.

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    person_id TEXT NOT NULL REFERENCES people (id),
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    revoked_at REAL
);

CREATE TABLE login_links (
    token_hash TEXT PRIMARY KEY,
    person_id TEXT NOT NULL REFERENCES people (id),
    expires_at REAL NOT NULL
);

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY,
    person_id TEXT NOT NULL REFERENCES people (id),
    created_at REAL NOT NULL,
    seen_at REAL NOT NULL
);

CREATE TABLE memory (
    id INTEGER PRIMARY KEY,
    conversation_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    line INTEGER NOT NULL,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    quotes TEXT NOT NULL,
    message_id TEXT NOT NULL,
    at REAL NOT NULL,
    UNIQUE (conversation_id, turn_id, line)
);
CREATE INDEX memory_by_time ON memory (conversation_id, at, id);
CREATE VIRTUAL TABLE memory_words USING fts5 (text, content = 'memory', content_rowid = 'id');

CREATE TABLE dead_letters (
    id TEXT PRIMARY KEY,
    conversation_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    code TEXT NOT NULL,
    cause TEXT NOT NULL,
    event_json TEXT NOT NULL,
    created_at REAL NOT NULL,
    closed_at REAL,
    closed_how TEXT NOT NULL
);
CREATE INDEX dead_letters_by_age ON dead_letters (created_at);

CREATE TABLE decisions (
    decision_id TEXT PRIMARY KEY,
    question TEXT NOT NULL,
    effect TEXT NOT NULL,
    reasons TEXT NOT NULL,
    obligations TEXT NOT NULL,
    revision TEXT NOT NULL,
    input_digest TEXT NOT NULL,
    at REAL NOT NULL
);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    set_at REAL NOT NULL
);

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until REAL NOT NULL
);
