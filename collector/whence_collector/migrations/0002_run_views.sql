-- What the derivation keeps beside its runs, and the stable views over runs.
--
-- Input and output rows belong to the run of the process that touched the file;
-- a script's own steps are found by parent_run_id.

-- The class of each path, by its name; NULL where files are no content.
CREATE TABLE path_class (
    path_id INTEGER NOT NULL,
    class VARCHAR,
    executed_class VARCHAR -- the class when it was executed
);

-- Runs that another took in (stages of one pipeline): old ids stay good.
CREATE TABLE run_alias (
    run_id VARCHAR NOT NULL,
    into_run_id VARCHAR NOT NULL
);

-- One row; grows whenever run_dependency changed other than by new rows.
CREATE TABLE lineage_revision (
    revision BIGINT NOT NULL
);

INSERT INTO lineage_revision VALUES (0);

-- Digest and state of a version, as text.
CREATE VIEW version_content AS
SELECT
    d.version_id,
    d.artifact_id,
    'blake3:' || lower(hex(a.blake3)) AS artifact,
    CASE d.state
        WHEN 1 THEN 'verified'
        WHEN 2 THEN 'asserted'
        WHEN 3 THEN 'torn'
        WHEN 4 THEN 'unhashed'
    END AS artifact_state,
    d.reason,
    d.size_bytes
FROM version_digest d
LEFT JOIN artifact a ON a.artifact_id = d.artifact_id;

CREATE VIEW runs AS
SELECT
    r.run_id,
    r.kind,
    r.command,
    r.argv,
    r.cwd,
    h.name AS host,
    r.user_name,
    r.uid,
    make_timestamp(r.started_ns // 1000) AS started_at,
    make_timestamp(r.ended_ns // 1000) AS ended_at,
    r.status,
    r.exit_code,
    r.git_commit,
    r.git_dirty,
    r.project,
    r.request_id,
    NULL::DOUBLE AS gpu_seconds,
    NULL::DECIMAL(18, 6) AS cost_usd,
    r.complete,
    r.incomplete_reason,
    r.parent_run_id,
    r.repository AS git_repository,
    r.git_branch,
    r.git_modified
FROM run r
JOIN host h USING (host_id);

-- One row per run, version and name: what it read that it had not made itself.
CREATE VIEW run_inputs AS
WITH touch AS (
    SELECT
        p.run_id,
        a.version_id,
        a.path_id,
        min(a.first_unix_ns) FILTER (a.op IN (1, 3, 4)) AS first_ns,
        max(a.last_unix_ns) FILTER (a.op IN (1, 3, 4)) AS last_ns,
        sum(a.bytes) FILTER (a.op IN (1, 3, 4)) AS bytes,
        bool_or(a.op = 3) AS executed,
        min(a.first_unix_ns) FILTER (a.op IN (2, 5) OR a.flags & 2 != 0) AS written_ns
    FROM access a
    JOIN process_run p USING (process_id)
    GROUP BY p.run_id, a.version_id, a.path_id
)
SELECT
    t.run_id,
    n.path,
    c.artifact,
    c.artifact_state,
    CASE WHEN t.executed THEN k.executed_class ELSE k.class END AS class,
    make_timestamp(t.first_ns // 1000) AS first_at,
    make_timestamp(t.last_ns // 1000) AS last_at,
    t.bytes::BIGINT AS bytes,
    c.size_bytes AS size,
    c.reason AS artifact_reason
FROM touch t
JOIN path n ON n.path_id = t.path_id
JOIN path_class k ON k.path_id = t.path_id AND k.class IS NOT NULL
LEFT JOIN version_content c ON c.version_id = t.version_id
WHERE t.first_ns IS NOT NULL AND (t.written_ns IS NULL OR t.first_ns < t.written_ns);

-- One row per run, version and name: what it wrote, under the names that stood
-- when the run and everything that it is a step of had ended.
CREATE VIEW run_outputs AS
WITH touch AS (
    SELECT
        p.run_id,
        a.version_id,
        a.path_id,
        min(a.first_unix_ns) AS first_ns,
        max(a.last_unix_ns) AS last_ns,
        sum(a.bytes) AS bytes
    FROM access a
    JOIN process_run p USING (process_id)
    WHERE a.op IN (2, 5) OR a.flags & 2 != 0
    GROUP BY p.run_id, a.version_id, a.path_id
)
SELECT
    t.run_id,
    coalesce(o.final_path, n.path) AS path,
    c.artifact,
    c.artifact_state,
    k.class,
    make_timestamp(t.first_ns // 1000) AS first_at,
    make_timestamp(t.last_ns // 1000) AS last_at,
    t.bytes::BIGINT AS bytes,
    coalesce(o.deleted, false) AS deleted,
    c.size_bytes AS size,
    c.reason AS artifact_reason
FROM touch t
JOIN path n ON n.path_id = t.path_id
LEFT JOIN run_output_name o
    ON o.run_id = t.run_id AND o.version_id = t.version_id AND o.path_id = t.path_id
JOIN path_class k ON k.path_id = t.path_id AND k.class IS NOT NULL
LEFT JOIN version_content c ON c.version_id = t.version_id;

CREATE VIEW run_dependencies AS
SELECT
    d.child_run_id,
    d.parent_run_id,
    c.artifact,
    d.strength,
    make_timestamp(min(d.read_ns) // 1000) AS read_at,
    make_timestamp(max(d.written_ns) // 1000) AS written_at
FROM run_dependency d
LEFT JOIN version_content c ON c.version_id = d.version_id
GROUP BY d.child_run_id, d.parent_run_id, c.artifact, d.strength;
