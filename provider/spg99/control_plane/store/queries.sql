-- Queries of the catalogue about itself.

-- applied_migrations
select version from schema_migrations;
