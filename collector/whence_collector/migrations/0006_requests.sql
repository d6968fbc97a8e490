-- Training requests: the chained records are the truth; the other tables are
-- what follows from them, kept so that SQL can read it.

CREATE TABLE audit_record (
    number BIGINT NOT NULL,
    at_ns BIGINT NOT NULL,
    action VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    actor_json VARCHAR NOT NULL,
    content_json VARCHAR NOT NULL,
    previous_sha256 VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL
);

ALTER TABLE training_request ADD COLUMN revision_digest VARCHAR;
ALTER TABLE training_request ADD COLUMN requester VARCHAR;
ALTER TABLE training_request ADD COLUMN requester_kind VARCHAR;
ALTER TABLE training_request ADD COLUMN on_behalf_of VARCHAR;
ALTER TABLE training_request ADD COLUMN project VARCHAR;
ALTER TABLE training_request ADD COLUMN rationale VARCHAR;
ALTER TABLE training_request ADD COLUMN gpu_model VARCHAR;
ALTER TABLE training_request ADD COLUMN gpu_count INTEGER;
ALTER TABLE training_request ADD COLUMN duration_s BIGINT;
ALTER TABLE training_request ADD COLUMN budget_micro_usd BIGINT;
ALTER TABLE training_request ADD COLUMN estimate_micro_usd BIGINT;
ALTER TABLE training_request ADD COLUMN spent_micro_usd BIGINT;
ALTER TABLE training_request ADD COLUMN reviewers VARCHAR[];
ALTER TABLE training_request ADD COLUMN claimed_by VARCHAR;
ALTER TABLE training_request ADD COLUMN filed_ns BIGINT;
ALTER TABLE training_request ADD COLUMN state_ns BIGINT;
ALTER TABLE training_request ADD COLUMN expires_ns BIGINT;
ALTER TABLE training_request ADD COLUMN superseded_by VARCHAR;

ALTER TABLE request_review ADD COLUMN who_kind VARCHAR;
ALTER TABLE request_review ADD COLUMN budget_micro_usd BIGINT;
ALTER TABLE request_review ADD COLUMN signed BOOLEAN;

CREATE TABLE request_remark (
    target VARCHAR NOT NULL,
    who VARCHAR NOT NULL,
    who_kind VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    at_ns BIGINT NOT NULL
);

CREATE TABLE request_run (
    request_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    how VARCHAR NOT NULL,
    score INTEGER NOT NULL,
    at_ns BIGINT NOT NULL
);

CREATE OR REPLACE VIEW requests AS
SELECT
    request_id,
    revision,
    state,
    title,
    revision_digest,
    requester,
    requester_kind,
    on_behalf_of,
    project,
    rationale,
    gpu_model,
    gpu_count,
    duration_s / 3600.0 AS hours,
    (budget_micro_usd / 1000000)::DECIMAL(18, 6) AS budget_usd,
    (estimate_micro_usd / 1000000)::DECIMAL(18, 6) AS estimate_usd,
    (spent_micro_usd / 1000000)::DECIMAL(18, 6) AS spent_usd,
    reviewers,
    claimed_by,
    make_timestamp(filed_ns // 1000) AS filed_at,
    make_timestamp(state_ns // 1000) AS state_since,
    make_timestamp(expires_ns // 1000) AS expires_at,
    superseded_by
FROM training_request;

CREATE OR REPLACE VIEW decisions AS
SELECT
    request_id,
    revision,
    who,
    verdict,
    reason,
    make_timestamp(at_ns // 1000) AS "at",
    revision_digest,
    who_kind,
    (budget_micro_usd / 1000000)::DECIMAL(18, 6) AS budget_usd,
    signed
FROM request_review;

CREATE VIEW request_runs AS
SELECT
    request_id,
    run_id,
    how,
    score / 1000.0 AS score,
    make_timestamp(at_ns // 1000) AS linked_at
FROM request_run;

CREATE VIEW request_remarks AS
SELECT target, who, who_kind, text, make_timestamp(at_ns // 1000) AS "at"
FROM request_remark;

CREATE VIEW audit AS
SELECT
    number,
    make_timestamp(at_ns // 1000) AS "at",
    actor_json->>'$.name' AS who,
    actor_json->>'$.kind' AS who_kind,
    action,
    subject,
    content_json AS content,
    actor_json AS actor,
    previous_sha256,
    sha256
FROM audit_record;
