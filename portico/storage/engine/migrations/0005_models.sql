-- What language models were asked and what it cost, how their routes fare, and which conversations may be shared.

CREATE TABLE model_answers (
    key TEXT PRIMARY KEY,
    at REAL NOT NULL,
    person TEXT NOT NULL,
    route TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    finish TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost REAL NOT NULL,
    estimated INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX model_answers_by_age ON model_answers (at);

CREATE TABLE model_usage (
    day TEXT NOT NULL,
    person TEXT NOT NULL,
    route TEXT NOT NULL,
    estimated INTEGER NOT NULL,
    answers INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost REAL NOT NULL,
    PRIMARY KEY (day, person, route, estimated)
) WITHOUT ROWID;

CREATE TABLE route_health (
    route TEXT PRIMARY KEY,
    answers INTEGER NOT NULL,
    failing INTEGER NOT NULL,
    why TEXT NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE data_classes (
    conversation_id TEXT PRIMARY KEY,
    data_class TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID;
