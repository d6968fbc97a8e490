-- A tree that comes in by the stream lies in files beside the database; its parts are stored in short
-- transactions under numbers that are claimed, and exist for nobody before the last of these.

DROP TABLE tree_stage;

CREATE TABLE tree_claim (
    claim VARCHAR NOT NULL,
    first_id BIGINT NOT NULL -- of 4,096 numbers of buckets
);
