-- The kernel's own accounts of processes that ended, against what was seen.

CREATE TABLE account (
    process_id BIGINT NOT NULL, -- the last program; the numbers are of all
    at_unix_ns BIGINT NOT NULL,
    read_bytes BIGINT NOT NULL, -- each task's rounded down to 1,024
    written_bytes BIGINT NOT NULL,
    read_seen_bytes BIGINT NOT NULL,
    written_seen_bytes BIGINT NOT NULL,
    read_calls BIGINT NOT NULL,
    written_calls BIGINT NOT NULL,
    allowed_bytes BIGINT NOT NULL -- read by the kernel itself, at an exec
);

ALTER TABLE run ADD COLUMN accounted_bytes BIGINT;
ALTER TABLE run ADD COLUMN seen_bytes BIGINT;
ALTER TABLE run ADD COLUMN lacking_bytes BIGINT;

-- What is proven of each run, and the amounts of what is not.
CREATE VIEW run_proofs AS
SELECT
    run_id,
    complete,
    incomplete_reason,
    lost_records,
    unobserved_ns / 1e9 AS unobserved_seconds,
    accounted_bytes,
    seen_bytes,
    seen_bytes / nullif(accounted_bytes, 0) AS seen_share,
    lacking_bytes
FROM run;
