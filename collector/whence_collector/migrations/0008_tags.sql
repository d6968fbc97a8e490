-- What people, agents and programs say: tags and measured numbers.

-- Append-only: of the rows of one subject and key the newest stands.
CREATE TABLE tag (
    subject_kind VARCHAR NOT NULL, -- run, artifact, tree, process
    subject VARCHAR NOT NULL, -- run id, "blake3:…", "tree:…", process id
    process_id BIGINT, -- of a process
    key VARCHAR NOT NULL,
    value VARCHAR, -- NULL: a label without one
    removed BOOLEAN NOT NULL,
    inherit BOOLEAN NOT NULL, -- what is made from it has the tag too
    who VARCHAR NOT NULL,
    proven BOOLEAN NOT NULL, -- the kernel named who
    at_ns BIGINT NOT NULL
);

-- Runs that a tagged shell, agent or other session began while it was tagged.
CREATE TABLE tag_reach (
    process_id BIGINT NOT NULL,
    run_id VARCHAR NOT NULL
);

CREATE TABLE metric (
    process_id BIGINT NOT NULL,
    name VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    step BIGINT,
    at_ns BIGINT NOT NULL
);

-- Every statement, with the runs that it is about.
CREATE VIEW tag_statement AS
SELECT subject_kind, subject, coalesce(a.into_run_id, t.subject) AS run_id, key, value, removed,
    inherit, who, proven, at_ns
FROM tag t LEFT JOIN run_alias a ON a.run_id = t.subject
WHERE subject_kind = 'run'
UNION ALL
SELECT subject_kind, subject, m.run_id, key, value, removed, inherit, who, proven, at_ns
FROM tag t JOIN process_run m USING (process_id)
WHERE subject_kind = 'process'
UNION ALL
SELECT subject_kind, subject, r.run_id, key, value, removed, inherit, who, proven, at_ns
FROM tag t JOIN tag_reach r USING (process_id)
WHERE subject_kind = 'process'
UNION ALL
SELECT subject_kind, subject, NULL, key, value, removed, inherit, who, proven, at_ns
FROM tag t
WHERE subject_kind NOT IN ('run', 'process');

-- What stands of each run, whoever said it of which of its processes.
CREATE VIEW run_label AS
SELECT run_id, subject_kind, subject, key, value, inherit, who, proven, at_ns
FROM (
    SELECT *, row_number() OVER (PARTITION BY run_id, key ORDER BY at_ns DESC) AS nth
    FROM tag_statement WHERE run_id IS NOT NULL
)
WHERE nth = 1 AND NOT removed;

-- The project of a run, else of the run that it is a step of, where somebody told.
CREATE VIEW run_project AS
WITH RECURSIVE told AS (
    SELECT run_id, value AS project, 0 AS far
    FROM run_label WHERE key = 'project' AND value IS NOT NULL
    UNION ALL
    SELECT r.run_id, t.project, t.far + 1 FROM told t JOIN run r ON r.parent_run_id = t.run_id
)
SELECT run_id, arg_min(project, far) AS project FROM told GROUP BY run_id;

-- Stable views ---------------------------------------------------------------

CREATE VIEW tags AS
SELECT
    subject_kind,
    subject,
    run_id,
    key,
    value,
    inherit,
    who,
    proven,
    make_timestamp(at_ns // 1000) AS "at",
    removed,
    nth = 1 AND NOT removed AS stands
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY subject_kind, subject, run_id, key ORDER BY at_ns DESC) AS nth
    FROM tag_statement
);

CREATE VIEW metrics AS
SELECT
    r.run_id,
    m.process_id::VARCHAR AS process_id,
    m.name,
    m.step,
    m.value,
    make_timestamp(m.at_ns // 1000) AS "at"
FROM metric m
LEFT JOIN process_run r ON r.process_id = m.process_id;

CREATE OR REPLACE VIEW runs AS
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
    coalesce(p.project, r.project) AS project,
    r.request_id,
    coalesce(m.alloc_ns, CASE WHEN a.host_id IS NOT NULL THEN 0 END) / 1e9 AS gpu_seconds,
    CASE
        WHEN m.unpriced_ns > 0 THEN NULL -- in part: the sum would be too low
        ELSE (coalesce(m.micro_usd, CASE WHEN a.host_id IS NOT NULL THEN 0 END) / 1000000)
    END::DECIMAL(18, 6) AS cost_usd,
    r.complete,
    r.incomplete_reason,
    r.parent_run_id,
    r.repository AS git_repository,
    r.git_branch,
    r.git_modified,
    r.principal_kind,
    r.principal,
    r.acting_for,
    r.claim_id,
    r.world_size,
    r.attempts,
    r.container_id,
    r.group_key
FROM run r
JOIN host h USING (host_id)
LEFT JOIN run_spend m ON m.run_id = r.run_id
LEFT JOIN (SELECT DISTINCT host_id FROM gpu_device) a ON a.host_id = r.host_id
LEFT JOIN run_project p ON p.run_id = r.run_id;
