-- Trees: sets of files below one folder, content-addressed in parts (docs/design/0007). Parts that
-- trees have in common are stored once: a tree with one changed member adds one part.

CREATE TABLE tree (
    tree_id INTEGER NOT NULL,
    digest BLOB NOT NULL,
    kind VARCHAR NOT NULL, -- dataset, checkpoint
    members BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    first_seen_ns BIGINT NOT NULL
);

CREATE TABLE tree_part (
    tree_id INTEGER NOT NULL,
    bucket INTEGER NOT NULL, -- 0 to 4095
    bucket_id BIGINT NOT NULL
);

CREATE TABLE tree_bucket (
    bucket_id BIGINT NOT NULL,
    digest BLOB NOT NULL,
    members BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL
);

-- In the order of bucket_id, so that zone maps find a bucket.
CREATE TABLE tree_member (
    bucket_id BIGINT NOT NULL,
    path VARCHAR NOT NULL, -- relative
    blake3 BLOB NOT NULL,
    size_bytes BIGINT NOT NULL
);

-- The same members by content: each registration appends its own in order of content.
CREATE TABLE tree_content (
    content UBIGINT NOT NULL, -- first 8 bytes of BLAKE3, big-endian
    bucket_id BIGINT NOT NULL
);

-- A tree as it comes in over the wire, until it is whole.
CREATE TABLE tree_stage (
    stage VARCHAR NOT NULL,
    bucket INTEGER NOT NULL,
    path VARCHAR NOT NULL,
    blake3 BLOB NOT NULL,
    size_bytes BIGINT NOT NULL
);

CREATE TABLE run_tree (
    run_id VARCHAR NOT NULL,
    tree_id INTEGER NOT NULL,
    path VARCHAR NOT NULL,
    wrote BOOLEAN NOT NULL,
    members_touched BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    first_ns BIGINT NOT NULL,
    last_ns BIGINT NOT NULL,
    step BIGINT -- that the folder's name tells
);

-- Runs that ended and whose files were looked at: trees, recipe keys.
CREATE TABLE run_recipe (
    run_id VARCHAR NOT NULL,
    opening BLOB, -- what is known when it starts
    exact BLOB,
    same_result BLOB,
    intent BLOB,
    settled_ns BIGINT NOT NULL
);

-- Inputs of a run in the order of their first reads, the first of them only.
CREATE TABLE run_prefix (
    run_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    artifact_id INTEGER NOT NULL
);

CREATE TABLE repeat (
    run_id VARCHAR NOT NULL,
    earlier_run_id VARCHAR NOT NULL,
    grade VARCHAR NOT NULL, -- exact, same result, same intent
    inputs_matched BIGINT NOT NULL,
    noticed_ns BIGINT NOT NULL
);

-- Stable views ---------------------------------------------------------------

CREATE VIEW trees AS
SELECT
    'tree:' || lower(hex(digest)) AS tree,
    kind,
    members,
    size_bytes AS size,
    make_timestamp(first_seen_ns // 1000) AS first_seen_at
FROM tree;

CREATE VIEW run_trees AS
SELECT
    u.run_id,
    'tree:' || lower(hex(t.digest)) AS tree,
    t.kind,
    u.path,
    CASE WHEN u.wrote THEN 'write' ELSE 'read' END AS op,
    u.members_touched,
    t.members,
    u.bytes,
    make_timestamp(u.first_ns // 1000) AS first_at,
    make_timestamp(u.last_ns // 1000) AS last_at,
    u.step
FROM run_tree u
JOIN tree t USING (tree_id);

CREATE VIEW run_recipes AS
SELECT
    run_id,
    lower(hex(exact)) AS exact,
    lower(hex(same_result)) AS same_result,
    lower(hex(intent)) AS intent
FROM run_recipe
WHERE exact IS NOT NULL;

CREATE VIEW duplicates AS
SELECT
    run_id,
    earlier_run_id,
    grade,
    inputs_matched,
    make_timestamp(noticed_ns // 1000) AS noticed_at
FROM repeat;
