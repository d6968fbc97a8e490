-- What stands of the ledger after reversals and price corrections: one row for each
-- part of each charge. micro_usd is NULL while the part has no price.
CREATE VIEW spend_net AS
SELECT
    host_id,
    gpu_uuid,
    from_ns,
    until_ns,
    part,
    process_id,
    sum(alloc_ns)::BIGINT AS alloc_ns,
    sum(busy_ns)::BIGINT AS busy_ns,
    sum(micro_usd)::BIGINT AS micro_usd,
    sum(list_micro_usd)::BIGINT AS list_micro_usd,
    arg_max(price_id, entry_id) AS price_id,
    arg_max(commitment, entry_id) AS commitment,
    arg_max(method, entry_id) AS method
FROM spend_ledger
GROUP BY host_id, gpu_uuid, from_ns, until_ns, part, process_id
HAVING sum(alloc_ns) != 0;
