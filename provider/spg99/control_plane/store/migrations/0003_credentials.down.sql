-- Takes managed credentials back; passwords stay.
alter table tenants drop column rotated_at, drop column rotation_trigger, drop column credentials_id;
