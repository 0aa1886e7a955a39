-- Who may do what, and who did.

create type api_role as enum ('read', 'deploy', 'admin');

create table tokens (
  id           bigint generated always as identity primary key,
  name         text not null,
  role         api_role not null,
  hash         bytea not null unique,
  created_at   timestamptz not null default now(),
  expires_at   timestamptz,
  last_used_at timestamptz,
  revoked_at   timestamptz
);
create unique index tokens_by_name on tokens (name) where revoked_at is null;

create table audit_log (
  id           bigint generated always as identity primary key,
  at           timestamptz not null default now(),
  actor        text not null,
  token_id     bigint references tokens,
  via          text not null,
  address      text,
  action       text not null,
  subject      text not null,
  subject_id   bigint,
  subject_name text not null,
  details      jsonb not null default '{}'
);
create index audit_by_subject on audit_log (subject, subject_id, id);
create index audit_by_actor on audit_log (actor, id);
