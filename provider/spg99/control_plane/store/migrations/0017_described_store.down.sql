drop index timelines_described;
drop index timelines_kept;
alter table timelines drop column described, drop column description_key, drop column description_tag;
drop table stored_tenants;
