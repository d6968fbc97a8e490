-- What NVML told of GPUs, for questions that the ledger does not answer.
CREATE VIEW gpu_activity AS
SELECT
    h.name AS host,
    s.gpu_uuid,
    d.model AS gpu_model,
    make_timestamp(s.from_ns // 1000) AS from_at,
    make_timestamp(s.until_ns // 1000) AS until_at,
    s.busy_ns,
    s.sm_active_ns,
    s.tensor_active_ns,
    s.energy_mj / 1000 AS energy_joules,
    s.memory_used_bytes,
    s.from_ns,
    s.until_ns
FROM gpu_slice s
JOIN host h USING (host_id)
LEFT JOIN gpu_device d ON d.host_id = s.host_id AND d.gpu_uuid = s.gpu_uuid;

CREATE VIEW gpu_faults AS
SELECT
    h.name AS host,
    f.gpu_uuid,
    d.model AS gpu_model,
    make_timestamp(f.at_ns // 1000) AS "at",
    f.xid
FROM gpu_fault f
JOIN host h USING (host_id)
LEFT JOIN gpu_device d ON d.host_id = f.host_id AND d.gpu_uuid = f.gpu_uuid;
