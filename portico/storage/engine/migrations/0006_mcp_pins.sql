-- What the tools of MCP servers said of themselves when they were approved, and what they say since.

CREATE TABLE mcp_pins (
    name TEXT PRIMARY KEY,
    server TEXT NOT NULL,
    identity TEXT NOT NULL,
    tool TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    description TEXT NOT NULL,
    parameters TEXT NOT NULL,
    pending_hash TEXT NOT NULL,
    pending_description TEXT NOT NULL,
    pending_parameters TEXT NOT NULL,
    seen_at REAL NOT NULL,
    approved_at REAL NOT NULL,
    approved_by TEXT NOT NULL,
    decision_id TEXT NOT NULL
);
CREATE INDEX mcp_pins_by_server ON mcp_pins (server);
