-- Queries of enrolment tokens. Using one up is the business of nodes and gateways.

-- insert_enrolment_token
insert into enrolment_tokens (token_sha256, kind, created_at, expires_at)
values (%(token_sha256)s, %(kind)s, %(created_at)s, %(created_at)s::timestamptz + make_interval(mins => %(minutes)s));

-- forget_enrolment_tokens
delete from enrolment_tokens where expires_at < %(moment)s;
