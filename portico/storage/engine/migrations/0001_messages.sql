-- What comes in, what goes out, and who it is from.

CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    chat TEXT NOT NULL,
    title TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    created_at REAL NOT NULL,
    last_at REAL NOT NULL
);
CREATE INDEX conversations_by_channel ON conversations (channel, last_at);

-- The authority on repeats: one row for each deduplication key.
CREATE TABLE inbox (
    conversation_id TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    claimed_at REAL NOT NULL,
    PRIMARY KEY (conversation_id, dedup_key)
);
CREATE INDEX inbox_by_age ON inbox (claimed_at);

-- Texts of turns that are not remembered yet.
CREATE TABLE inbox_messages (
    conversation_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    text TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (conversation_id, turn_id)
);

-- One row for each call of a platform.
CREATE TABLE outbox (
    row_id TEXT PRIMARY KEY,
    conversation_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    part INTEGER NOT NULL,
    kind TEXT NOT NULL,
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ready', 'sending', 'sent', 'refused', 'unknown')),
    marked INTEGER NOT NULL,
    held INTEGER NOT NULL,
    payload TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    platform_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    chat_slot REAL,
    account_slot REAL,
    created_at REAL NOT NULL,
    begun_at REAL,
    finished_at REAL,
    UNIQUE (turn_id, part),
    UNIQUE (conversation_id, seq)
);
CREATE INDEX outbox_by_end ON outbox (conversation_id, finished_at);
CREATE INDEX outbox_open ON outbox (state, created_at) WHERE state IN ('ready', 'sending', 'unknown');

-- When the next call is due, for each account and each chat.
CREATE TABLE rates (
    bucket TEXT PRIMARY KEY,
    due REAL NOT NULL
);

CREATE TABLE people (
    id TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL
);

CREATE TABLE identities (
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    person_id TEXT NOT NULL REFERENCES people (id),
    name TEXT NOT NULL,
    chat TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (channel, account, sender_id)
);
CREATE INDEX identities_by_person ON identities (person_id);

CREATE TABLE pairing_codes (
    code TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    name TEXT NOT NULL,
    chat TEXT NOT NULL,
    expires_at REAL NOT NULL,
    UNIQUE (channel, account, sender_id)
);

CREATE TABLE owner_links (
    token_hash TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    expires_at REAL NOT NULL
);

-- Wrong guesses of codes and tokens.
CREATE TABLE guesses (
    guesser TEXT PRIMARY KEY,
    wrong INTEGER NOT NULL,
    since REAL NOT NULL
);
