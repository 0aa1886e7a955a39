-- What is kept and what goes: builds whose images leave engine and registry, images that are deleted, recurring work.

alter table builds
  add column removed_at timestamptz,
  add column purged_at timestamptz,
  add check (removed_at is null or state = 'success'),
  add check (purged_at is null or removed_at is not null);
create index builds_to_purge on builds (id) where removed_at is not null and purged_at is null;

alter table docker_images add column deleting_at timestamptz;
create index images_to_delete on docker_images (id) where deleting_at is not null;

create or replace view image_overview as
  select i.id, i.name, i.tag, i.github_repo, i.github_ref,
         latest.id as latest_build_id, latest.commit_sha, latest.state as build_status, latest.error as build_error, latest.attempt,
         live.id as live_build_id, live.image_ref, live.exact_ref, live.digest, live.size_bytes, live.finished_at as built_at,
         i.created_at,
         case when live.id is null
              then (select max(b.removed_at) from builds b where b.image_id = i.id) end as removed_at
    from docker_images i
    join builds latest on latest.id = i.latest_build_id
    left join builds live on live.id = i.live_build_id
   where i.deleting_at is null;

create table chores (
  id          int primary key,
  name        text not null unique,
  run_after   timestamptz not null default now(),
  lease_token uuid,
  lease_until timestamptz,
  worker      text,
  last_run_at timestamptz
);
insert into chores (id, name, run_after) values (1, 'purge', now()), (2, 'retention', now() + interval '10 minutes');
