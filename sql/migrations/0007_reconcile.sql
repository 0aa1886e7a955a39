-- Tags whose delivery never came: what is known of each repository's tags, when they are listed, what GitHub is asked to
-- send again. And the build's cause is called its source.

alter type build_cause rename to build_source;
alter table builds rename column cause to source;

alter table repositories
  add column watched_since timestamptz not null default now(),
  add column first_look_at timestamptz,
  add column backfill boolean not null default false;

create table looks (
  id          bigint generated always as identity primary key,
  repo        text not null unique check (repo = lower(repo)),
  run_after   timestamptz not null default now(),
  asks        bigint not null default 1,
  asks_done   bigint not null default 0,
  lease_token uuid,
  lease_until timestamptz,
  worker      text,
  begun_at    timestamptz,
  failures    int not null default 0,
  looked_at   timestamptz,
  error       text,
  pages       jsonb not null default '[]',
  hooks_after timestamptz not null default now(),
  hooks_error text,
  check ((lease_token is null) = (lease_until is null))
);
create index looks_to_claim on looks (run_after, id);

create table look_pace (
  only_row     boolean primary key default true check (only_row),
  open_at      timestamptz not null default now(),
  closed_until timestamptz not null default now()
);
insert into look_pace default values;

create table seen_tags (
  repo       text not null references looks (repo) on delete cascade,
  tag        text not null,
  commit_sha text,
  listed_sha text,
  seen_at    timestamptz not null default now(),
  primary key (repo, tag)
);

create table redeliveries (
  guid     text primary key,
  repo     text not null,
  times    int not null default 1 check (times between 1 and 3),
  asked_at timestamptz not null default now()
);
create index redeliveries_by_age on redeliveries (asked_at);

-- The past is not built: what was registered before today begins with what is known today.
insert into looks (repo, asks_done) select distinct lower(repo), 1 from repositories;
insert into seen_tags (repo, tag, commit_sha)
  select distinct on (l.repo, i.tag) l.repo, i.tag, b.commit_sha
    from docker_images i join looks l on l.repo = lower(i.github_repo) left join builds b on b.id = i.latest_build_id
   order by l.repo, i.tag, i.latest_build_id desc nulls last;
insert into seen_tags (repo, tag)
  select distinct l.repo, substr(d.ref, length('refs/tags/') + 1)
    from deliveries d join looks l on l.repo = lower(d.repo)
   where d.ref like 'refs/tags/_%'
on conflict (repo, tag) do nothing;
