-- A gateway's last batch of egress that was counted, so that one which is told again after a lost answer counts once.
alter table gateways add column egress_run_id text, add column egress_batch bigint not null default 0;
