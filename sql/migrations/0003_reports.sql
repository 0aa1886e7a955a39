-- What GitHub is told of builds and rollouts, and where it does not want to hear it.

create type report_kind as enum (
  'status',      -- the status of a build's commit
  'deployment'   -- a GitHub deployment of a rollout, with its statuses
);

-- Whether rows are queued at all: set by every process that starts with credentials, or with reports switched off.
create table reporting (
  only_row boolean primary key default true check (only_row),
  enabled  boolean not null
);

-- One row for each build and rollout: what GitHub has been told of it. It is behind when that is not what is true now.
create table reports (
  id            bigint generated always as identity primary key,
  build_id      bigint unique references builds on delete cascade,
  rollout_id    bigint unique references rollouts on delete cascade,
  told          text,                                            -- the state of the build or rollout that GitHub knows
  told_sha      text,                                            -- and of which commit
  deployment_id bigint,                                          -- GitHub's, written before anything is said about it
  attempt       int not null default 0,
  run_after     timestamptz not null default now(),
  lease_token   uuid,
  lease_until   timestamptz,
  worker        text,
  answer        text,                                            -- why it was put off, or ended untold
  created_at    timestamptz not null default now(),
  finished_at   timestamptz,                                     -- the last word was said, or nothing will be
  check (num_nonnulls(build_id, rollout_id) = 1),
  check (deployment_id is null or rollout_id is not null)
);
create index reports_to_claim on reports (run_after, id) where finished_at is null;
create index builds_by_commit on builds (commit_sha);

-- Where our credentials may not report: nothing more is tried before `retry_at`, or the start of a process.
create table report_refusals (
  repo       text not null,                                      -- in lower case
  kind       report_kind not null,
  reason     text not null,
  refused_at timestamptz not null default now(),
  retry_at   timestamptz not null,
  primary key (repo, kind)
);

-- A report with what is true now. Reports of one `subject` would overwrite each other on GitHub: one at a time.
create view report_overview as
  select r.*, case when r.rollout_id is null then 'status'::report_kind else 'deployment' end as kind,
         case when r.rollout_id is null then b.state::text else o.state::text end as state,
         case when r.rollout_id is null then b.error else o.error end as error,
         case when r.rollout_id is null then b.finished_at else o.finished_at end as over_at,
         case when r.rollout_id is null then concat_ws(' ', lower(i.github_repo), i.name, b.commit_sha)
              else concat('product ', o.product_id) end as subject,
         b.commit_sha, extract(epoch from b.finished_at - b.started_at)::float8 as seconds,
         i.id as image_id, i.name as image_name, i.tag as image_tag, i.github_repo, o.product_id, p.slug
    from reports r
    left join rollouts o on o.id = r.rollout_id
    left join products p on p.id = o.product_id
    join builds b on b.id = coalesce(r.build_id, o.build_id)
    join docker_images i on i.id = b.image_id;
