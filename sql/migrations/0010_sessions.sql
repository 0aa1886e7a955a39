-- People who signed in to the dashboard. A session lasts no longer than the token that it was begun with.

create table sessions (
  id         bigint generated always as identity primary key,
  hash       bytea not null unique,
  token_id   bigint references tokens,
  token_hash bytea not null,
  created_at timestamptz not null default now(),
  used_at    timestamptz not null default now(),
  expires_at timestamptz not null
);
create index sessions_by_expiry on sessions (expires_at);
