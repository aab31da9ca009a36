-- What one database may take of a Gateway: clients that wait for its wake-up count, which its own max_connections does not see.
insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('gateway.database_connections_max', 'integer', '600', 1, 1000000, 'Connections of one database through one gateway.');
