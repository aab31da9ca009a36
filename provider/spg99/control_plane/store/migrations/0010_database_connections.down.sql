-- Takes the limit back: a Gateway goes by its own default.
delete from policy_values where key = 'gateway.database_connections_max';
delete from policy_definitions where key = 'gateway.database_connections_max';
