-- Contents of which a publisher told SHA-256 and that were never read.

-- True: the column blake3 holds a stand-in that only serves to find the row; sha256 is the digest.
ALTER TABLE artifact ADD COLUMN is_stand_in BOOLEAN;

CREATE MACRO digest_text(blake3, sha256, is_stand_in) AS
    CASE
        WHEN is_stand_in THEN 'sha256:' || lower(hex(sha256))
        ELSE 'blake3:' || lower(hex(blake3))
    END;

CREATE OR REPLACE VIEW version_content AS
SELECT
    d.version_id,
    d.artifact_id,
    digest_text(a.blake3, a.sha256, a.is_stand_in) AS artifact,
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

CREATE OR REPLACE VIEW file_accesses AS
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
    c.artifact,
    c.artifact_state
FROM touch t
LEFT JOIN process_run r ON r.process_id = t.process_id
LEFT JOIN path n ON n.path_id = t.path_id
LEFT JOIN version_content c ON c.version_id = t.version_id;

CREATE OR REPLACE VIEW artifacts AS
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
    digest_text(a.blake3, a.sha256, a.is_stand_in) AS artifact,
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
