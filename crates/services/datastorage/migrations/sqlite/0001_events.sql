-- Times are microseconds since 1970-01-01 UTC, ids lower-case UUIDs, whose order as text is their order as numbers.
CREATE TABLE events (
    event_id        TEXT    NOT NULL PRIMARY KEY,
    event_timestamp INTEGER NOT NULL,
    version         TEXT    NOT NULL,
    event_type      TEXT    NOT NULL,
    event_category  TEXT    NOT NULL,
    event_action    TEXT    NOT NULL,
    event_outcome   TEXT    NOT NULL,
    correlation_id  TEXT    NOT NULL,
    event_data      TEXT    NOT NULL,
    actor_type      TEXT,
    actor_id        TEXT,
    resource_type   TEXT,
    resource_id     TEXT,
    namespace       TEXT,
    cluster_id      TEXT,
    severity        TEXT,
    duration_ms     INTEGER,
    parent_event_id TEXT REFERENCES events (event_id)
) STRICT;

-- The order of every answer, for all events and for those of one case.
CREATE INDEX events_by_time ON events (event_timestamp DESC, event_id DESC);
CREATE INDEX events_by_correlation ON events (correlation_id, event_timestamp DESC, event_id DESC);

CREATE TABLE idempotency_keys (
    key         TEXT    NOT NULL PRIMARY KEY,
    fingerprint TEXT    NOT NULL,
    response    TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
