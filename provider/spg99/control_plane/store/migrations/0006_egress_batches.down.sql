-- Takes the memory of counted batches back.
alter table gateways drop column egress_run_id, drop column egress_batch;
