-- The recipe of runs: environment, packages, code that is not as committed, names that publishers
-- give to content, containers and hosts. Daemons tell them by process; views join them to runs.
--
-- Dictionaries hold a row again when the collector no longer remembers that it is there:
-- equal rows under two ids mean the same.

CREATE TABLE environment (
    environment_id BIGINT NOT NULL,
    names VARCHAR[] NOT NULL, -- sorted
    contents VARCHAR[] NOT NULL -- beside the names
);

-- A program that is not here has the environment of the image before it, or of its parent.
CREATE TABLE process_environment (
    process_id BIGINT NOT NULL,
    environment_id BIGINT NOT NULL,
    truncated BOOLEAN NOT NULL
);

CREATE TABLE package (
    package_id BIGINT NOT NULL,
    ecosystem VARCHAR NOT NULL, -- pypi, conda, deb, rpm
    name VARCHAR NOT NULL,
    version VARCHAR,
    location VARCHAR,
    record_sha256 BLOB
);

CREATE TABLE process_package (
    process_id BIGINT NOT NULL,
    package_id BIGINT NOT NULL,
    modified BOOLEAN NOT NULL,
    at_unix_ns BIGINT NOT NULL
);

CREATE TABLE difference (
    difference_id BIGINT NOT NULL,
    content VARCHAR NOT NULL
);

CREATE TABLE code_change (
    process_id BIGINT NOT NULL,
    repository VARCHAR NOT NULL,
    path VARCHAR NOT NULL, -- relative to the repository
    change UTINYINT NOT NULL, -- whence.v1.CodeChange
    "commit" VARCHAR,
    difference_id BIGINT,
    reason VARCHAR,
    redacted BOOLEAN NOT NULL,
    at_unix_ns BIGINT NOT NULL
);

CREATE TABLE file_origin (
    version_id BIGINT NOT NULL,
    publisher VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    repository VARCHAR NOT NULL,
    revision VARCHAR,
    reference VARCHAR,
    name VARCHAR,
    at_unix_ns BIGINT NOT NULL
);

CREATE TABLE container (
    host_id INTEGER NOT NULL,
    container_id VARCHAR NOT NULL,
    runtime VARCHAR,
    name VARCHAR,
    image VARCHAR,
    image_digest VARCHAR,
    at_unix_ns BIGINT NOT NULL
);

-- The latest of each host, as its daemon told when it connected.
CREATE TABLE host_facts (
    host_id INTEGER NOT NULL,
    operating_system VARCHAR,
    cpu_model VARCHAR,
    cpu_count UINTEGER,
    memory_bytes UBIGINT,
    gpu_driver VARCHAR,
    gpu_models VARCHAR[] NOT NULL
);

ALTER TABLE run ADD COLUMN environment_id BIGINT; -- of the program that tells what was run
ALTER TABLE run ADD COLUMN container_id VARCHAR;
ALTER TABLE run ADD COLUMN principal_kind VARCHAR; -- human, agent, service
ALTER TABLE run ADD COLUMN principal VARCHAR;
ALTER TABLE run ADD COLUMN acting_for VARCHAR; -- the human behind an agent
ALTER TABLE run ADD COLUMN claim_id VARCHAR;
ALTER TABLE run ADD COLUMN world_size UINTEGER; -- ranks that are one run
ALTER TABLE run ADD COLUMN attempts UINTEGER; -- restarts that are one run

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
    r.project,
    r.request_id,
    NULL::DOUBLE AS gpu_seconds,
    NULL::DECIMAL(18, 6) AS cost_usd,
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
JOIN host h USING (host_id);

CREATE VIEW run_environment AS
SELECT
    r.run_id,
    unnest(e.names) AS name,
    unnest(e.contents) AS "value"
FROM run r
JOIN environment e USING (environment_id);

-- Seeds that can be seen: in the environment, and as arguments (--seed 1, seed=1).
CREATE VIEW run_seeds AS
WITH word AS (
    SELECT
        r.run_id,
        unnest(r.argv) AS word,
        unnest(list_append(r.argv[2:], NULL)) AS next_word
    FROM run r
    WHERE len(r.argv) > 0
)
SELECT run_id, name, "value", 'environment' AS source
FROM run_environment
WHERE regexp_full_match(name, '(?i).*seed.*') AND regexp_full_match("value", '-?\d+|random')
UNION ALL
SELECT
    run_id,
    regexp_extract(word, '^[-+]*([\w.-]*)', 1) AS name,
    coalesce(nullif(regexp_extract(word, '=(-?\d+)$', 1), ''), next_word) AS "value",
    'argument' AS source
FROM word
WHERE regexp_full_match(word, '(?i)[-+]*([\w.-]*[._-])?seed=-?\d+')
    OR (
        regexp_full_match(word, '(?i)-+([\w.-]*[._-])?seed')
        AND regexp_full_match(next_word, '-?\d+')
    );

CREATE VIEW run_packages AS
SELECT
    m.run_id,
    p.ecosystem,
    p.name,
    p.version,
    p.location,
    lower(hex(p.record_sha256)) AS record_sha256,
    bool_or(u.modified) AS modified,
    make_timestamp(min(u.at_unix_ns) // 1000) AS first_at
FROM process_package u
JOIN package p USING (package_id)
JOIN process_run m USING (process_id)
GROUP BY ALL;

-- Files of a repository that a run read and that were not as committed, as they were then.
CREATE VIEW run_code_changes AS
SELECT
    m.run_id,
    c.repository,
    c.path,
    CASE c.change WHEN 1 THEN 'modified' WHEN 2 THEN 'untracked' END AS change,
    c."commit" AS git_commit,
    d.content AS difference,
    c.reason,
    c.redacted,
    make_timestamp(min(c.at_unix_ns) // 1000) AS first_at
FROM code_change c
JOIN process_run m USING (process_id)
LEFT JOIN difference d USING (difference_id)
GROUP BY ALL;

-- Interpreters that programs of a run were; the version is as exact as names and packages tell.
CREATE VIEW run_interpreters AS
WITH interpreter AS (
    SELECT
        m.run_id,
        p.process_id,
        p.exe AS path,
        p.exe_version_id,
        regexp_extract(p.exe, '([^/]*)$', 1) AS called
    FROM process p
    JOIN process_run m USING (process_id)
    WHERE regexp_full_match(p.exe, '.*/(python|pypy|perl|ruby|node|julia|R|Rscript|lua|php)[\d.]*')
)
SELECT
    i.run_id,
    regexp_extract(i.called, '^[A-Za-z]+') AS name,
    coalesce(
        any_value(k.version),
        nullif(regexp_extract(i.path, '/(?:versions/|cpython-|python-?)v?(\d+\.\d+\.\d+)', 1), ''),
        nullif(regexp_extract(i.called, '([\d.]+)$', 1), '')
    ) AS version,
    i.path,
    any_value('blake3:' || lower(hex(a.blake3))) AS artifact
FROM interpreter i
LEFT JOIN (
    SELECT u.process_id, p.name, p.version
    FROM process_package u
    JOIN package p USING (package_id)
    WHERE p.ecosystem IN ('deb', 'rpm', 'conda')
) k ON k.process_id = i.process_id AND starts_with(k.name, regexp_extract(i.called, '^[A-Za-z]+'))
LEFT JOIN version_digest d ON d.version_id = i.exe_version_id
LEFT JOIN artifact a ON a.artifact_id = d.artifact_id
GROUP BY i.run_id, i.called, i.path;

-- CUDA and its kin as they were loaded; their versions stand in the names of the files.
CREATE VIEW run_gpu_libraries AS
SELECT DISTINCT
    m.run_id,
    regexp_extract(n.path, '/lib([A-Za-z0-9_]+?)(?:-[0-9a-f]{8})?\.so', 1) AS name,
    nullif(regexp_extract(n.path, '\.so\.([\d.]+)$', 1), '') AS version,
    n.path
FROM path n
JOIN access a USING (path_id)
JOIN process_run m USING (process_id)
WHERE a.op IN (3, 4) AND regexp_matches(
    n.path,
    '/lib(cuda|cudart|cublas|cublasLt|cudnn|cufft|curand|cusolver|cusparse|cufile|nccl|'
    'nvrtc|nvidia|nvJitLink|nvToolsExt|amdhip64|rccl|rocblas|MIOpen|hsa-runtime64)[\w.-]*\.so'
);

CREATE VIEW artifact_origins AS
SELECT DISTINCT
    c.artifact,
    o.publisher,
    o.kind,
    o.repository,
    o.revision,
    o.reference,
    o.name,
    o.version_id::VARCHAR AS version_id
FROM file_origin o
LEFT JOIN version_content c USING (version_id);

CREATE VIEW containers AS
SELECT
    c.container_id,
    h.name AS host,
    arg_max(c.runtime, c.at_unix_ns) AS runtime,
    arg_max(c.name, c.at_unix_ns) AS name,
    arg_max(c.image, c.at_unix_ns) AS image,
    arg_max(c.image_digest, c.at_unix_ns) AS image_digest
FROM container c
JOIN host h USING (host_id)
GROUP BY c.container_id, h.name;

CREATE VIEW hosts AS
SELECT
    h.name AS host,
    d.kernel,
    f.operating_system,
    f.cpu_model,
    f.cpu_count,
    f.memory_bytes,
    f.gpu_driver,
    coalesce(f.gpu_models, []) AS gpu_models
FROM host h
LEFT JOIN daemon d USING (host_id)
LEFT JOIN host_facts f USING (host_id);
