-- Runs whose raw rows were folded when they grew old: what is left of them is one row for each
-- (process, version, path, op) that lineage needs.
CREATE TABLE folded_run (
    run_id VARCHAR NOT NULL,
    folded_ns BIGINT NOT NULL
);
