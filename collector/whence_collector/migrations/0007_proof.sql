-- What capture says of itself: its lives, the times that nobody observed, whose
-- records were lost, and ends that nobody saw.

-- One row per capture that told of itself. Unix ns; NULL: not told.
CREATE TABLE capture_life (
    capture_id INTEGER NOT NULL,
    host_id INTEGER NOT NULL,
    boot_id INTEGER NOT NULL,
    began_ns BIGINT,
    told_ns BIGINT, -- everything of before has been told
    ended_ns BIGINT -- the daemon was told to stop
);

-- Times in which a host that has been observed before was not.
CREATE TABLE unobserved (
    host_id INTEGER NOT NULL,
    boot_id INTEGER NOT NULL, -- of the capture that came after it
    from_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    reason VARCHAR NOT NULL
);

ALTER TABLE loss ADD COLUMN process_id BIGINT; -- NULL: anybody's of the interval

-- Amounts of what makes a run incomplete; NULL: none.
ALTER TABLE run ADD COLUMN lost_records BIGINT;
ALTER TABLE run ADD COLUMN unobserved_ns BIGINT;

-- An end that nobody saw has neither code nor signal.
ALTER TABLE process_end ALTER COLUMN exit_code DROP NOT NULL;
ALTER TABLE process_end ALTER COLUMN exit_signal DROP NOT NULL;

CREATE VIEW unobserved_times AS
SELECT
    h.name AS host,
    make_timestamp(u.from_ns // 1000) AS unobserved_from,
    make_timestamp(u.until_ns // 1000) AS unobserved_until,
    (u.until_ns - u.from_ns) / 1e9 AS seconds,
    u.reason
FROM unobserved u
JOIN host h USING (host_id);

CREATE VIEW losses AS
SELECT
    h.name AS host,
    l.record_class,
    l.attempted,
    l.received,
    l.lost,
    l.reason,
    l.process_id::VARCHAR AS process_id,
    r.run_id,
    make_timestamp(l.from_unix_ns // 1000) AS lost_from,
    make_timestamp(l.until_unix_ns // 1000) AS lost_until
FROM loss l
JOIN boot b USING (boot_id)
JOIN host h USING (host_id)
LEFT JOIN process_run r ON r.process_id = l.process_id;
