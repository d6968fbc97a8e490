-- Parts of runs: the hosts of one, and the units of a notebook's kernel.

CREATE VIEW run_hosts AS
SELECT DISTINCT
    m.run_id,
    h.name AS host
FROM process_run m
JOIN process_key k USING (process_id)
JOIN boot b USING (boot_id)
JOIN host h USING (host_id);

-- A kernel lives for days and works now and then: after a minute in which it touched no file a new
-- unit begins. Cells are invisible; this is an approximation and says so by its name.
CREATE VIEW run_units AS
WITH point AS (
    SELECT
        m.run_id,
        unnest([a.first_unix_ns, a.last_unix_ns]) AS at_ns,
        a.op IN (2, 5) OR a.flags & 2 != 0 AS is_write,
        a.version_id
    FROM run r
    JOIN process_run m USING (run_id)
    JOIN access a USING (process_id)
    WHERE r.kind = 'notebook'
), gap AS (
    SELECT
        *,
        at_ns - lag(at_ns) OVER (PARTITION BY run_id ORDER BY at_ns) > 60000000000 AS begins
    FROM point
), numbered AS (
    SELECT
        *,
        1 + count(*) FILTER (begins) OVER (
            PARTITION BY run_id ORDER BY at_ns ROWS UNBOUNDED PRECEDING
        ) AS unit
    FROM gap
)
SELECT
    run_id,
    unit,
    make_timestamp(min(at_ns) // 1000) AS started_at,
    make_timestamp(max(at_ns) // 1000) AS ended_at,
    count(DISTINCT version_id) FILTER (NOT is_write) AS files_read,
    count(DISTINCT version_id) FILTER (is_write) AS files_written
FROM numbered
GROUP BY run_id, unit;
