-- Holds of GPUs as daemons saw them, the price book, and the ledger of what each
-- nanosecond of each GPU cost. The tables that stood in for them were empty.
--
-- GPU times are boot-clock times plus one offset kept for each boot: a step of the
-- wall clock neither stretches a hold nor makes slices overlap.

DROP VIEW gpu_holds;
DROP VIEW spend;
DROP TABLE gpu_hold;
DROP TABLE spend_ledger;

CREATE TABLE gpu_clock (
    boot_id INTEGER NOT NULL,
    wall_offset_ns BIGINT NOT NULL -- as the boot's first batch with GPU rows had it
);

-- One row for each (host, GPU): a later description replaces an earlier one.
CREATE TABLE gpu_device (
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    model VARCHAR,
    pci VARCHAR,
    driver VARCHAR,
    parent VARCHAR, -- UUID of the GPU that a MIG instance is a part of
    minor INTEGER,
    nvml_index INTEGER,
    memory_bytes BIGINT,
    compute_slices INTEGER,
    memory_slices INTEGER,
    at_ns BIGINT NOT NULL
);

-- One row for each hold: a later state replaces an earlier one.
CREATE TABLE gpu_hold (
    hold BIGINT NOT NULL,
    process_id BIGINT NOT NULL, -- 0 not known
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR,
    device UINTEGER NOT NULL,
    kind UTINYINT NOT NULL, -- whence.v1.GpuHoldKind
    start_ns BIGINT NOT NULL,
    end_ns BIGINT, -- NULL while it goes on
    start_source UTINYINT NOT NULL, -- whence.v1.GpuEdgeSource
    end_source UTINYINT,
    start_uncertainty_ns BIGINT NOT NULL,
    end_uncertainty_ns BIGINT NOT NULL,
    holders INTEGER -- NULL not known
);

CREATE TABLE gpu_slice (
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    from_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    busy_ns BIGINT,
    sm_active_ns BIGINT,
    tensor_active_ns BIGINT,
    energy_mj BIGINT,
    memory_used_bytes BIGINT
);

CREATE TABLE gpu_share (
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    process_id BIGINT NOT NULL,
    from_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    sm_ppm BIGINT,
    memory_bytes BIGINT,
    mps BOOLEAN NOT NULL
);

CREATE TABLE gpu_fault (
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    at_ns BIGINT NOT NULL,
    xid UINTEGER NOT NULL
);

-- How far the ledger has come for each GPU, and from where it has to be done again.
CREATE TABLE gpu_settled (
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    until_ns BIGINT NOT NULL
);

CREATE TABLE gpu_unsettled (
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    from_ns BIGINT NOT NULL
);

-- Bitemporal: valid_* says when a price applies, recorded and superseded when we
-- believed it. Rows are never changed but for superseded_ns.
CREATE TABLE price_book (
    price_id INTEGER NOT NULL,
    gpu_model VARCHAR NOT NULL,
    host_glob VARCHAR NOT NULL,
    term VARCHAR NOT NULL,
    nano_usd_per_gpu_hour BIGINT NOT NULL,
    list_nano_usd_per_gpu_hour BIGINT,
    commitment VARCHAR,
    valid_from_ns BIGINT NOT NULL,
    valid_until_ns BIGINT NOT NULL,
    recorded_ns BIGINT NOT NULL,
    superseded_ns BIGINT
);

CREATE TABLE price_commitment (
    commitment VARCHAR NOT NULL,
    gpu_model VARCHAR NOT NULL,
    host_glob VARCHAR NOT NULL,
    gpu_count INTEGER NOT NULL,
    from_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    total_micro_usd BIGINT NOT NULL,
    recorded_ns BIGINT NOT NULL,
    superseded_ns BIGINT
);

-- Append only. A charge covers [from_ns, until_ns) of one GPU by one entry for each
-- part; alloc_ns of a charge adds up to its length. Reversals and corrections are
-- further entries with the difference: sums need no knowledge of them.
CREATE TABLE spend_ledger (
    entry_id BIGINT NOT NULL,
    entry_kind VARCHAR NOT NULL, -- charge, reversal, price
    host_id INTEGER NOT NULL,
    gpu_uuid VARCHAR NOT NULL,
    from_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    part VARCHAR NOT NULL, -- held, orphaned, idle, unattributed
    process_id BIGINT, -- who held it; its run is looked up when asked
    alloc_ns BIGINT NOT NULL,
    busy_ns BIGINT,
    micro_usd BIGINT, -- NULL: there was no price
    list_micro_usd BIGINT,
    price_id INTEGER,
    commitment VARCHAR,
    method VARCHAR NOT NULL, -- rule that made the part, with its version
    corrects_entry BIGINT,
    written_ns BIGINT NOT NULL
);

-- Stable views ---------------------------------------------------------------

CREATE VIEW gpu_holds AS
SELECT
    r.run_id,
    h.name AS host,
    g.gpu_uuid,
    make_timestamp(g.start_ns // 1000) AS held_from,
    make_timestamp(g.end_ns // 1000) AS held_until,
    CASE g.kind WHEN 1 THEN 'attached' WHEN 2 THEN 'held' WHEN 3 THEN 'orphaned' END AS kind,
    nullif(g.process_id, 0)::VARCHAR AS process_id,
    d.model AS gpu_model,
    d.minor AS gpu_minor,
    d.nvml_index AS gpu_nvml_index,
    d.pci AS gpu_pci,
    g.start_ns,
    g.end_ns,
    CASE g.start_source WHEN 1 THEN 'event' WHEN 2 THEN 'found' WHEN 3 THEN 'restart' END
        AS start_source,
    CASE g.end_source WHEN 1 THEN 'event' WHEN 2 THEN 'found' WHEN 3 THEN 'restart' END
        AS end_source,
    g.start_uncertainty_ns,
    g.end_uncertainty_ns,
    g.holders,
    g.hold::VARCHAR AS hold_id
FROM gpu_hold g
JOIN host h USING (host_id)
LEFT JOIN process_run r ON r.process_id = g.process_id
LEFT JOIN gpu_device d ON d.host_id = g.host_id AND d.gpu_uuid = g.gpu_uuid;

CREATE VIEW spend AS
SELECT
    r.run_id,
    h.name AS host,
    s.gpu_uuid,
    make_timestamp(s.from_ns // 1000) AS charged_from,
    make_timestamp(s.until_ns // 1000) AS charged_until,
    s.alloc_ns / 1e9 AS gpu_seconds,
    (s.micro_usd / 1000000)::DECIMAL(18, 6) AS cost_usd,
    s.part,
    s.alloc_ns,
    s.busy_ns,
    s.micro_usd,
    s.list_micro_usd,
    d.model AS gpu_model,
    b.term,
    s.commitment,
    s.method,
    s.entry_kind,
    s.entry_id,
    s.corrects_entry,
    s.price_id,
    nullif(s.process_id, 0)::VARCHAR AS process_id,
    s.from_ns,
    s.until_ns,
    make_timestamp(s.written_ns // 1000) AS written_at
FROM spend_ledger s
JOIN host h USING (host_id)
LEFT JOIN process_run r ON r.process_id = s.process_id
LEFT JOIN gpu_device d ON d.host_id = s.host_id AND d.gpu_uuid = s.gpu_uuid
LEFT JOIN price_book b ON b.price_id = s.price_id;

-- Must be empty: every charge is given out to the nanosecond and the micro-dollar,
-- and charges of one GPU follow each other without gap or overlap.
CREATE VIEW spend_violations AS
WITH charge AS (
    SELECT
        host_id,
        gpu_uuid,
        from_ns,
        until_ns,
        sum(alloc_ns) AS alloc_ns,
        sum(micro_usd) AS micro_usd,
        max(price_id) FILTER (entry_kind != 'reversal') AS price_id
    FROM spend_ledger
    GROUP BY ALL
),
net AS (
    SELECT *, lag(until_ns) OVER (PARTITION BY host_id, gpu_uuid ORDER BY from_ns) AS before_ns
    FROM charge
    WHERE alloc_ns != 0
)
SELECT
    CASE
        WHEN n.alloc_ns != n.until_ns - n.from_ns THEN 'time given out differs from the time'
        WHEN n.before_ns > n.from_ns THEN 'charged twice'
        ELSE 'not charged'
    END AS violation,
    h.name AS host,
    n.gpu_uuid,
    n.from_ns,
    n.until_ns,
    CASE
        WHEN n.alloc_ns != n.until_ns - n.from_ns THEN n.alloc_ns - (n.until_ns - n.from_ns)
        ELSE n.from_ns - n.before_ns
    END::BIGINT AS difference_ns
FROM net n
JOIN host h USING (host_id)
WHERE n.alloc_ns != n.until_ns - n.from_ns OR n.before_ns != n.from_ns;

-- What each run had of GPUs, steps left out: they are runs with rows of their own.
CREATE VIEW run_spend AS
SELECT
    r.run_id,
    sum(s.alloc_ns)::BIGINT AS alloc_ns,
    sum(s.micro_usd)::BIGINT AS micro_usd,
    sum(s.alloc_ns) FILTER (s.price_id IS NULL)::BIGINT AS unpriced_ns
FROM (
    SELECT
        process_id,
        sum(alloc_ns) AS alloc_ns,
        sum(micro_usd) AS micro_usd,
        max(price_id) AS price_id
    FROM spend_ledger
    WHERE process_id != 0
    GROUP BY process_id, host_id, gpu_uuid, from_ns, until_ns
) s
JOIN process_run r USING (process_id)
GROUP BY r.run_id;

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
LEFT JOIN (SELECT DISTINCT host_id FROM gpu_device) a ON a.host_id = r.host_id;
