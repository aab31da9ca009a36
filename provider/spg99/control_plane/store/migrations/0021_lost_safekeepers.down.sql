delete from policy_values where key = 'storage.safekeeper_lost_seconds';
delete from policy_definitions where key = 'storage.safekeeper_lost_seconds';
