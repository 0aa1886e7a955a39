-- Channels choose by image and product too and may sign; what a build sets going is told in one message; notices that wait
-- together go out together.

alter table channels
  add column images text[] not null default '{}',
  add column products text[] not null default '{}',
  add column secret_sealed text,
  add column burst_began_at timestamptz,
  add column burst_messages int not null default 0;

create type notice_subject as enum ('build', 'rollout');

alter table notices
  add column subject notice_subject,
  add column message_id uuid,
  add column status int;
update notices set subject = case when event in ('build_succeeded', 'build_failed') then 'build' else 'rollout' end::notice_subject;
alter table notices
  alter column subject set not null,
  drop constraint notices_channel_id_event_subject_id_key,
  add unique (channel_id, event, subject, subject_id);
create index notices_waiting on notices (channel_id, id) where state = 'pending';

create table shipments (
  build_id         bigint primary key references builds on delete cascade,
  facts            jsonb not null,
  created_at       timestamptz not null default now(),
  progress_told_at timestamptz
);

-- Rollouts that are under way now would have been told one by one: they are told with their build from here on.
insert into shipments (build_id, facts)
select b.id, jsonb_build_object('id', b.id, 'image_id', b.image_id, 'name', i.name, 'tag', i.tag, 'github_repo', i.github_repo,
                                'commit_sha', b.commit_sha, 'rollouts', count(r.id),
                                'seconds', coalesce(extract(epoch from b.finished_at - b.started_at)::float8, 0))
  from builds b
  join docker_images i on i.id = b.image_id
  join rollouts r on r.build_id = b.id
 where r.reason in ('image_built', 'pin_moved') and r.state in ('pending', 'applying', 'converging')
 group by b.id, i.id;
