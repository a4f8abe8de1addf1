-- event_data is json and not jsonb: it reads back as it was written, and a number compares as it was written.
-- Text sorts and compares by bytes ("C"), as in SQLite.
CREATE TABLE events (
    event_id        uuid        NOT NULL PRIMARY KEY,
    event_timestamp timestamptz NOT NULL,
    version         text        NOT NULL,
    event_type      text        NOT NULL,
    event_category  text        NOT NULL,
    event_action    text        NOT NULL,
    event_outcome   text        NOT NULL,
    correlation_id  text        COLLATE "C" NOT NULL,
    event_data      json        NOT NULL,
    actor_type      text,
    actor_id        text,
    resource_type   text,
    resource_id     text,
    namespace       text,
    cluster_id      text,
    severity        text,
    duration_ms     bigint,
    parent_event_id uuid REFERENCES events (event_id)
);

-- The order of every answer, for all events and for those of one case.
CREATE INDEX events_by_time ON events (event_timestamp DESC, event_id DESC);
CREATE INDEX events_by_correlation ON events (correlation_id, event_timestamp DESC, event_id DESC);

CREATE TABLE idempotency_keys (
    key         text        NOT NULL PRIMARY KEY,
    fingerprint text        NOT NULL,
    response    text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
