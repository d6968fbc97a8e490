-- Ways to bytes that programs took and capture could not follow: what made a run incomplete.
CREATE TABLE blind_spot (
    process_id BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    at_unix_ns BIGINT NOT NULL
);
