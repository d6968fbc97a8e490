-- Rows as daemons send them, in dense ids; runs and edges derived from them;
-- the stable views over both.
--
-- Times named *_ns are Unix nanoseconds unless said otherwise. Ids are dense,
-- begin at 1 and mean "not known" when 0. No table that grows with the work of
-- a host has a key or an index: order of arrival gives the zone maps.

-- Who sends ------------------------------------------------------------------

CREATE TABLE host (
    host_id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    machine_id VARCHAR NOT NULL -- empty when the host has none
);

CREATE TABLE boot (
    boot_id INTEGER NOT NULL,
    boot_uuid VARCHAR NOT NULL,
    host_id INTEGER NOT NULL
);

-- One life of a daemon: kernel write versions count from its beginning.
CREATE TABLE capture (
    capture_id INTEGER NOT NULL,
    epoch VARCHAR NOT NULL,
    boot_id INTEGER NOT NULL
);

-- One row per epoch: the highest number that is committed.
CREATE TABLE batch_ledger (
    epoch VARCHAR NOT NULL,
    number UBIGINT NOT NULL,
    boot_id INTEGER NOT NULL,
    committed_ns BIGINT NOT NULL
);

-- The latest Hello of each host.
CREATE TABLE daemon (
    host_id INTEGER NOT NULL,
    boot_id INTEGER NOT NULL,
    daemon_version VARCHAR NOT NULL,
    kernel VARCHAR NOT NULL,
    back_end VARCHAR NOT NULL,
    capabilities VARCHAR[] NOT NULL,
    missing_capabilities VARCHAR[] NOT NULL,
    wire_version UINTEGER NOT NULL,
    capture_started_ns BIGINT NOT NULL,
    connected_ns BIGINT NOT NULL
);

-- Dictionaries ---------------------------------------------------------------

CREATE TABLE path (
    path_id INTEGER NOT NULL,
    path VARCHAR NOT NULL
);

CREATE TABLE process_key (
    process_id BIGINT NOT NULL,
    boot_id INTEGER NOT NULL,
    tgid UINTEGER NOT NULL,
    start_ns BIGINT NOT NULL, -- boot clock
    image UINTEGER NOT NULL
);

CREATE TABLE file_version (
    version_id BIGINT NOT NULL,
    boot_id INTEGER NOT NULL,
    capture_id INTEGER NOT NULL,
    device UINTEGER NOT NULL,
    inode UBIGINT NOT NULL,
    generation UINTEGER NOT NULL,
    version UBIGINT NOT NULL
);

CREATE TABLE artifact (
    artifact_id INTEGER NOT NULL,
    blake3 BLOB NOT NULL,
    sha256 BLOB,
    size_bytes BIGINT NOT NULL,
    first_seen_ns BIGINT NOT NULL
);

CREATE INDEX artifact_by_blake3 ON artifact (blake3);

-- What was seen --------------------------------------------------------------

-- One row per process_id: a later description replaces an earlier one.
CREATE TABLE process (
    process_id BIGINT NOT NULL,
    boot_id INTEGER NOT NULL,
    tgid UINTEGER NOT NULL,
    start_ns BIGINT NOT NULL, -- boot clock, part of the identity
    image UINTEGER NOT NULL,
    parent_process_id BIGINT,
    at_unix_ns BIGINT NOT NULL,
    origin UTINYINT NOT NULL, -- whence.v1.ProcessOrigin
    exe VARCHAR,
    exe_version_id BIGINT,
    script VARCHAR,
    argv VARCHAR[] NOT NULL,
    arguments_truncated BOOLEAN NOT NULL,
    cwd VARCHAR,
    uid UINTEGER NOT NULL,
    user_name VARCHAR,
    login_uid UINTEGER NOT NULL,
    session UINTEGER NOT NULL,
    process_group UINTEGER NOT NULL,
    terminal UINTEGER NOT NULL,
    cgroup VARCHAR,
    mount_namespace UINTEGER NOT NULL,
    pid_namespace UINTEGER NOT NULL,
    command_name VARCHAR
);

CREATE TABLE process_end (
    process_id BIGINT NOT NULL,
    at_unix_ns BIGINT NOT NULL,
    exit_code INTEGER NOT NULL,
    exit_signal INTEGER NOT NULL,
    replaced BOOLEAN NOT NULL
);

-- Increments: rows of one (process, version, path, op) add up.
CREATE TABLE access (
    process_id BIGINT NOT NULL,
    version_id BIGINT NOT NULL,
    path_id INTEGER NOT NULL,
    op UTINYINT NOT NULL, -- whence.v1.AccessOp
    ops BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    first_unix_ns BIGINT NOT NULL,
    last_unix_ns BIGINT NOT NULL,
    flags UINTEGER NOT NULL, -- sum of whence.v1.AccessFlag
    mount_namespace UINTEGER NOT NULL
);

CREATE TABLE name_change (
    process_id BIGINT NOT NULL,
    change UTINYINT NOT NULL, -- whence.v1.NameChange
    at_unix_ns BIGINT NOT NULL,
    path_id INTEGER NOT NULL,
    new_path_id INTEGER NOT NULL,
    version_id BIGINT,
    directory BOOLEAN NOT NULL,
    mount_namespace UINTEGER NOT NULL
);

-- One row per version_id: the surest statement about it.
CREATE TABLE version_digest (
    version_id BIGINT NOT NULL,
    state UTINYINT NOT NULL, -- whence.v1.DigestState
    artifact_id INTEGER,
    size_bytes BIGINT NOT NULL,
    reason VARCHAR,
    at_unix_ns BIGINT NOT NULL,
    path_id INTEGER NOT NULL
);

CREATE TABLE code_state (
    process_id BIGINT NOT NULL,
    repository VARCHAR NOT NULL,
    "commit" VARCHAR,
    branch VARCHAR,
    remote VARCHAR,
    dirty BOOLEAN NOT NULL,
    modified VARCHAR[] NOT NULL,
    at_unix_ns BIGINT NOT NULL
);

CREATE TABLE stream_touch (
    process_id BIGINT NOT NULL,
    boot_id INTEGER NOT NULL,
    device UINTEGER NOT NULL,
    inode UBIGINT NOT NULL,
    "write" BOOLEAN NOT NULL,
    at_unix_ns BIGINT NOT NULL,
    path VARCHAR
);

CREATE TABLE loss (
    boot_id INTEGER NOT NULL,
    record_class VARCHAR NOT NULL,
    attempted BIGINT NOT NULL,
    received BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    reason VARCHAR,
    from_unix_ns BIGINT NOT NULL,
    until_unix_ns BIGINT NOT NULL
);

-- What is derived ------------------------------------------------------------

CREATE TABLE run (
    run_id VARCHAR NOT NULL, -- 16 hexadecimal digits
    kind VARCHAR NOT NULL,
    parent_run_id VARCHAR,
    root_process_id BIGINT NOT NULL,
    host_id INTEGER NOT NULL,
    command VARCHAR NOT NULL,
    argv VARCHAR[] NOT NULL,
    cwd VARCHAR,
    uid UINTEGER,
    user_name VARCHAR,
    started_ns BIGINT NOT NULL,
    ended_ns BIGINT,
    status VARCHAR NOT NULL, -- running, succeeded, failed, killed
    exit_code INTEGER,
    repository VARCHAR,
    git_commit VARCHAR,
    git_branch VARCHAR,
    git_dirty BOOLEAN,
    git_modified VARCHAR[],
    project VARCHAR,
    request_id VARCHAR,
    complete BOOLEAN NOT NULL,
    incomplete_reason VARCHAR,
    group_key VARCHAR
);

CREATE TABLE process_run (
    process_id BIGINT NOT NULL,
    run_id VARCHAR NOT NULL
);

CREATE TABLE run_dependency (
    child_run_id VARCHAR NOT NULL,
    parent_run_id VARCHAR NOT NULL,
    artifact_id INTEGER,
    version_id BIGINT,
    strength VARCHAR NOT NULL, -- same-version, same-content, stream
    read_ns BIGINT,
    written_ns BIGINT
);

-- Paths of outputs as they stand when the run ends.
CREATE TABLE run_output_name (
    run_id VARCHAR NOT NULL,
    version_id BIGINT NOT NULL,
    path_id INTEGER NOT NULL,
    final_path VARCHAR NOT NULL,
    deleted BOOLEAN NOT NULL
);

-- Holds, money, requests: filled by later parts; the views below are stable --

CREATE TABLE gpu_hold (
    run_id VARCHAR,
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    held_from_ns BIGINT NOT NULL,
    held_until_ns BIGINT
);

CREATE TABLE spend_ledger (
    run_id VARCHAR,
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    charge_from_ns BIGINT NOT NULL,
    charge_until_ns BIGINT NOT NULL,
    held_ns BIGINT NOT NULL,
    micro_usd BIGINT NOT NULL
);

CREATE TABLE training_request (
    request_id VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    title VARCHAR NOT NULL
);

CREATE TABLE request_review (
    request_id VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    revision_digest VARCHAR NOT NULL,
    who VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL,
    reason VARCHAR,
    at_ns BIGINT NOT NULL
);

-- Stable views ---------------------------------------------------------------

CREATE VIEW processes AS
SELECT
    p.process_id::VARCHAR AS process_id,
    r.run_id,
    p.parent_process_id::VARCHAR AS parent_process_id,
    h.name AS host,
    p.tgid AS pid,
    p.exe,
    p.argv,
    p.cwd,
    p.uid,
    p.user_name,
    make_timestamp(p.at_unix_ns // 1000) AS started_at,
    make_timestamp(e.at_unix_ns // 1000) AS ended_at,
    CASE WHEN e.exit_signal = 0 AND NOT e.replaced THEN e.exit_code END AS exit_code,
    nullif(e.exit_signal, 0) AS exit_signal,
    p.command_name,
    p.script
FROM process p
JOIN boot b USING (boot_id)
JOIN host h USING (host_id)
LEFT JOIN process_end e ON e.process_id = p.process_id
LEFT JOIN process_run r ON r.process_id = p.process_id;

CREATE VIEW file_accesses AS
WITH touch AS (
    SELECT
        process_id,
        version_id,
        path_id,
        CASE op
            WHEN 1 THEN 'read'
            WHEN 2 THEN 'write'
            WHEN 3 THEN 'execute'
            WHEN 4 THEN 'map'
            WHEN 5 THEN 'truncate'
        END AS op,
        sum(ops)::BIGINT AS ops,
        sum(bytes)::BIGINT AS bytes,
        min(first_unix_ns) AS first_ns,
        max(last_unix_ns) AS last_ns
    FROM access
    GROUP BY ALL
    UNION ALL
    SELECT
        process_id,
        version_id,
        path_id,
        CASE change
            WHEN 1 THEN 'rename'
            WHEN 2 THEN 'link'
            WHEN 3 THEN 'delete'
            WHEN 4 THEN 'rename' -- an exchange renames both
        END AS op,
        1 AS ops,
        0 AS bytes,
        at_unix_ns AS first_ns,
        at_unix_ns AS last_ns
    FROM name_change
)
SELECT
    r.run_id,
    t.process_id::VARCHAR AS process_id,
    n.path,
    t.op,
    t.ops,
    t.bytes,
    make_timestamp(t.first_ns // 1000) AS first_at,
    make_timestamp(t.last_ns // 1000) AS last_at,
    'blake3:' || lower(hex(a.blake3)) AS artifact,
    CASE d.state
        WHEN 1 THEN 'verified'
        WHEN 2 THEN 'asserted'
        WHEN 3 THEN 'torn'
        WHEN 4 THEN 'unhashed'
    END AS artifact_state
FROM touch t
LEFT JOIN process_run r ON r.process_id = t.process_id
LEFT JOIN path n ON n.path_id = t.path_id
LEFT JOIN version_digest d ON d.version_id = t.version_id
LEFT JOIN artifact a ON a.artifact_id = d.artifact_id;

CREATE VIEW artifacts AS
WITH last_seen AS (
    SELECT
        artifact_id,
        arg_max(path_id, at_unix_ns) AS path_id,
        arg_max(version_id, at_unix_ns) AS version_id
    FROM version_digest
    WHERE artifact_id IS NOT NULL
    GROUP BY artifact_id
)
SELECT
    'blake3:' || lower(hex(a.blake3)) AS artifact,
    lower(hex(a.sha256)) AS sha256,
    a.size_bytes AS size,
    'file' AS kind,
    make_timestamp(a.first_seen_ns // 1000) AS first_seen_at,
    n.path AS last_path,
    h.name AS host
FROM artifact a
LEFT JOIN last_seen l USING (artifact_id)
LEFT JOIN path n ON n.path_id = l.path_id
LEFT JOIN file_version v ON v.version_id = l.version_id
LEFT JOIN boot b ON b.boot_id = v.boot_id
LEFT JOIN host h ON h.host_id = b.host_id;

CREATE VIEW gpu_holds AS
SELECT
    g.run_id,
    h.name AS host,
    g.gpu_uuid,
    make_timestamp(g.held_from_ns // 1000) AS held_from,
    make_timestamp(g.held_until_ns // 1000) AS held_until
FROM gpu_hold g
JOIN host h USING (host_id);

CREATE VIEW spend AS
SELECT
    s.run_id,
    h.name AS host,
    s.gpu_uuid,
    make_timestamp(s.charge_from_ns // 1000) AS charged_from,
    make_timestamp(s.charge_until_ns // 1000) AS charged_until,
    s.held_ns / 1e9 AS gpu_seconds,
    (s.micro_usd / 1000000)::DECIMAL(18, 6) AS cost_usd
FROM spend_ledger s
JOIN host h USING (host_id);

CREATE VIEW requests AS
SELECT request_id, revision, state, title FROM training_request;

CREATE VIEW decisions AS
SELECT
    request_id,
    revision,
    who,
    verdict,
    reason,
    make_timestamp(at_ns // 1000) AS "at",
    revision_digest
FROM request_review;
