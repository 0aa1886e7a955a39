-- The schema as one would explain it. The migrations make exactly this; a test compares the two.
-- Every stage's row is its own queue item: `run_after` says from when it may be claimed, `lease_token` and
-- `lease_until` say who holds it and until when, and every write of a worker is guarded by its token.
-- Whoever locks rows of several tables in one transaction does so in this order, and by id within a table:
-- deliveries, repositories, looks, seen_tags (by tag), docker_images, builds, products, rollouts, shipments, channels, notices;
-- then come the audit log's row and, last, the one of look_pace. Reports, chores and redeliveries are locked alone.

-- ---------------------------------------------------------------- repositories: how tags become images

create type moved_tag_policy as enum ('rebuild', 'ignore');

create table repositories (
  id            bigint generated always as identity primary key,
  repo          text not null,                                   -- owner/name as GitHub spells it
  github_id     bigint,                                          -- stable across renames; nothing learns it yet
  image_name    text not null unique,                            -- two entries never write the same image
  tag_pattern   text not null default '*',
  dockerfile    text not null default 'Dockerfile',
  context       text not null default '.',
  target        text,
  build_args    jsonb not null default '{}',
  on_moved_tag  moved_tag_policy not null default 'rebuild',
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  watched_since timestamptz not null default now(),              -- the first look builds only what is younger
  first_look_at timestamptz,                                     -- null: its first look is still to come
  backfill      boolean not null default false                   -- owed: build every matching tag that has no image
);
create index repositories_by_repo on repositories (lower(repo));

-- ---------------------------------------------------------------- looks: tags whose delivery never came

-- One row for each GitHub repository that has a registration: when its tags are listed next, and how that went last.
create table looks (
  id          bigint generated always as identity primary key,
  repo        text not null unique check (repo = lower(repo)),
  run_after   timestamptz not null default now(),
  asks        bigint not null default 1,                         -- how often somebody asked for a look at once,
  asks_done   bigint not null default 0,                         -- and how many of them have been answered by one
  lease_token uuid,
  lease_until timestamptz,
  worker      text,
  begun_at    timestamptz,                                       -- of the look under way, or the last one
  failures    int not null default 0,                            -- in a row
  looked_at   timestamptz,                                       -- when the tags were listed last
  error       text,                                              -- why they could not be since
  pages       jsonb not null default '[]',                       -- [{etag, full}] of the listing that was decided last
  hooks_after timestamptz not null default now(),                -- from when failed deliveries are looked for again
  hooks_error text,                                              -- why they cannot be; null: they can
  check ((lease_token is null) = (lease_until is null))
);
create index looks_to_claim on looks (run_after, id);

-- How fast all processes together may look: every look moves `open_at` on by what it cost.
create table look_pace (
  only_row     boolean primary key default true check (only_row),
  open_at      timestamptz not null default now(),               -- no look that nobody asked for begins before
  closed_until timestamptz not null default now()                -- and none at all before this
);
insert into look_pace default values;

-- What is known of each tag: what a delivery or a look saw last. A tag that is here is not new, whatever became of it.
create table seen_tags (
  repo       text not null references looks (repo) on delete cascade,
  tag        text not null,
  commit_sha text,                                               -- null: nobody had to know
  listed_sha text,                                               -- as the listing shows it, which may be a tag object
  seen_at    timestamptz not null default now(),
  primary key (repo, tag)
);

-- Deliveries that GitHub was asked to send again.
create table redeliveries (
  guid     text primary key,
  repo     text not null,
  times    int not null default 1 check (times between 1 and 3),
  asked_at timestamptz not null default now()
);
create index redeliveries_by_age on redeliveries (asked_at);

-- ---------------------------------------------------------------- deliveries: what GitHub sent

create type delivery_state as enum (
  'received',   -- stored, not decided
  'accepted',   -- received -> accepted: builds were queued; ignored | failed -> accepted: by a replay
  'ignored',    -- received -> ignored: nothing to do, `reason` says why; failed -> ignored: by a replay
  'failed'      -- received -> failed: signed, but not to be understood
);

create table deliveries (
  id           bigint generated always as identity primary key,
  guid         text not null unique,                             -- X-GitHub-Delivery: the same again is the same delivery
  event        text not null,
  repo         text,
  ref          text,
  state        delivery_state not null default 'received',
  reason       text,
  body         bytea not null,                                   -- exactly as signed
  content_type text not null default 'application/json',
  received_at  timestamptz not null default now(),
  replays      int not null default 0,                           -- how often it was decided anew, by a person
  replayed_at  timestamptz,                                      -- the last time
  check (state <> 'ignored' or reason is not null),
  check (state <> 'failed' or reason is not null),
  check ((replays = 0) = (replayed_at is null))
);
create index deliveries_by_repo on deliveries (lower(repo), id);
create index deliveries_by_state on deliveries (state, id);

-- ---------------------------------------------------------------- images and their builds

create table docker_images (
  id              bigint generated always as identity primary key,
  name            text not null,
  tag             text not null,                                 -- the Git tag, verbatim
  github_repo     text not null,
  github_ref      text not null,
  latest_build_id bigint,                                        -- the attempt that `build_status` speaks of
  live_build_id   bigint,                                        -- the last attempt that made an image: what products run
  created_at      timestamptz not null default now(),
  deleting_at     timestamptz,                                   -- gone for everybody; the row goes when its images have
  unique (name, tag)
);
create index images_to_delete on docker_images (id) where deleting_at is not null;

create type build_state as enum (
  'pending',    -- waits for a worker
  'building',   -- pending -> building: claimed under a lease
                -- building -> pending: worker lost or stopped, or a passing fault (attempt + 1, at most 3)
  'success',    -- building -> success: the engine has the image
  'failed',     -- building -> failed: the recipe is wrong, or three attempts were not enough
  'cancelled'   -- pending | building -> cancelled: by a person, or a newer build of the same image
);

create type build_source as enum ('delivery', 'api', 'rebuild', 'reconcile');

create table builds (
  id                  bigint generated always as identity primary key,
  image_id            bigint not null references docker_images on delete cascade,
  repository_id       bigint references repositories on delete set null,
  delivery_id         bigint references deliveries on delete set null,
  source              build_source not null,
  commit_sha          text check (commit_sha ~ '^[0-9a-f]{40}$'),  -- null: GitHub named none; the worker looks it up
  recipe              jsonb not null,                            -- dockerfile, context, target, build_args, frozen
  state               build_state not null default 'pending',
  attempt             int not null default 1 check (attempt between 1 and 3),
  run_after           timestamptz not null default now(),
  lease_token         uuid,
  lease_until         timestamptz,
  worker              text,
  cancel_requested_at timestamptz,
  image_ref           text,                                      -- name:tag on the engine
  exact_ref           text,                                      -- what a service spec names: sha256:… or repo@sha256:…
  digest              text,
  size_bytes          bigint,
  error               text,
  created_at          timestamptz not null default now(),
  started_at          timestamptz,
  finished_at         timestamptz,
  removed_at          timestamptz,                               -- from then on nothing may run what it made
  purged_at           timestamptz,                               -- and neither engine nor registry has it any more
  check ((state = 'building') = (lease_token is not null)),
  check ((state in ('success', 'failed', 'cancelled')) = (finished_at is not null)),
  check ((state = 'success') = (exact_ref is not null)),
  check (state <> 'failed' or error is not null),
  check (removed_at is null or state = 'success'),
  check (purged_at is null or removed_at is not null)
);
create index builds_to_purge on builds (id) where removed_at is not null and purged_at is null;
create unique index builds_one_building_per_image on builds (image_id) where state = 'building';
create index builds_to_claim on builds (id) where state = 'pending';
create index builds_by_image on builds (image_id, id);
create index builds_by_delivery on builds (delivery_id);
create index builds_by_repository on builds (repository_id);
create index builds_by_end on builds (finished_at);

alter table docker_images add foreign key (latest_build_id) references builds (id);
alter table docker_images add foreign key (live_build_id) references builds (id);

-- An image as people see it: its identity, how its latest attempt goes, and what its last successful attempt made.
create view image_overview as
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

create table build_log (
  build_id   bigint not null references builds on delete cascade,
  seq        bigint not null,                                    -- given by the one lease holder: 1, 2, 3 …
  written_at timestamptz not null default now(),
  data       text not null,
  primary key (build_id, seq)
);

-- ---------------------------------------------------------------- products: who runs what

create type publish_mode as enum ('ingress', 'host');

create type product_status as enum (
  'stopped',         -- nothing runs, nothing is wanted
  'awaiting_image',  -- starts by itself when its image has been built
  'deploying',       -- a rollout is under way
  'running',         -- every replica runs what the last finished rollout named
  'failed',          -- it should run and does not
  'deleting'         -- its service is being removed, then its row goes
);

create table products (
  id              bigint generated always as identity primary key,
  name            text not null,
  slug            text not null unique check (slug ~ '^[a-z0-9](-?[a-z0-9])*$' and length(slug) <= 40),
  port            int not null unique check (port between 1 and 65535),
  container_port  int check (container_port between 1 and 65535),
  publish_mode    publish_mode not null default 'ingress',
  replicas        int not null default 1 check (replicas between 1 and 1000),
  image_id        bigint references docker_images,
  track           text,
  env_sealed      jsonb not null default '{}',                   -- name -> sealed value
  healthcheck     jsonb,
  wanted          boolean not null default false,                -- whether it shall run: what people and pins go by
  status          product_status not null default 'stopped',     -- whether it does
  service_id      text,
  live_rollout_id bigint,                                        -- the rollout that describes what runs; null: nothing does
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  held_build_id   bigint references builds on delete set null,   -- rolled back to: what it runs instead of its image's newest build
  check (track is null or image_id is not null),
  check (status <> 'awaiting_image' or image_id is not null)
);
create index products_by_image on products (image_id);

-- ---------------------------------------------------------------- rollouts: one change of one service

create type rollout_state as enum (
  'pending',      -- waits for a worker
  'applying',     -- pending -> applying: claimed under a lease
  'converging',   -- applying -> converging: the swarm has the spec; tasks are watched
  'done',         -- converging -> done: every replica runs the exact image and stayed up
  'failed',       -- applying | converging -> failed: and nothing earlier could be kept running
  'rolled_back',  -- applying | converging -> rolled_back: it failed, and what ran before runs
  'superseded',   -- pending | applying | converging -> superseded: a newer rollout of the product took over
  'cancelled'     -- pending -> cancelled: nothing does this yet
);

create type rollout_kind as enum ('deploy', 'stop', 'remove');  -- remove: stop, then service and product go
create type rollout_reason as enum ('start', 'stop', 'image_built', 'pin_moved', 'changed', 'redeploy', 'rollback', 'delete');

create table rollouts (
  id             bigint generated always as identity primary key,
  product_id     bigint not null references products on delete cascade,
  kind           rollout_kind not null,
  reason         rollout_reason not null,
  state          rollout_state not null default 'pending',
  image_id       bigint references docker_images on delete set null,
  build_id       bigint references builds on delete set null,
  image          text not null,                                  -- exact
  env_sealed     jsonb not null,
  port           int not null,
  container_port int,
  publish_mode   publish_mode not null,
  replicas       int not null,
  healthcheck    jsonb,
  run_after      timestamptz not null default now(),
  attempt        int not null default 0,                         -- how often it was claimed
  lease_token    uuid,
  lease_until    timestamptz,
  worker         text,
  service_id     text,
  tasks_before   text[] not null default '{}',                   -- tasks of earlier lives: their deaths are not its own
  applied_at     timestamptz,
  deadline_at    timestamptz,
  steady_since   timestamptz,                                    -- since when exactly `steady_tasks` all run
  steady_tasks   text[] not null default '{}',
  progress       text,
  error          text,
  task_errors    jsonb not null default '[]',
  created_at     timestamptz not null default now(),
  started_at     timestamptz,
  finished_at    timestamptz,
  image_name     text,                                           -- of the pin; null: there was none
  image_tag      text,
  exposed_port   int,                                            -- found in the image, where no container_port was given
  check (lease_token is null or state in ('applying', 'converging')),
  check ((state in ('done', 'failed', 'rolled_back', 'superseded', 'cancelled')) = (finished_at is not null)),
  check (state not in ('failed', 'rolled_back') or error is not null)
);
create unique index rollouts_one_active_per_product on rollouts (product_id) where state in ('pending', 'applying', 'converging');
create index rollouts_to_claim on rollouts (id) where state in ('pending', 'applying', 'converging');
create index rollouts_by_product on rollouts (product_id, id);
create index rollouts_by_image on rollouts (image_id);
create index rollouts_by_build on rollouts (build_id);
create index rollouts_by_end on rollouts (finished_at);

alter table products add foreign key (live_rollout_id) references rollouts (id) on delete set null;

-- A rollout with what it needs to know of its product, and where the product's image came from.
create view rollout_overview as
  select r.*, p.slug, p.name as product_name, p.live_rollout_id, b.commit_sha, d.guid as delivery_guid, i.github_repo
    from rollouts r
    join products p on p.id = r.product_id
    left join builds b on b.id = r.build_id
    left join deliveries d on d.id = b.delivery_id
    left join docker_images i on i.id = r.image_id;

-- A product with its pin, and with what its service was last brought to.
create view product_overview as
  select p.*, i.name as pinned_name, i.tag as pinned_tag, i.live_build_id,
         live.image as live_image, live.image_name as live_image_name, live.image_tag as live_image_tag,
         live.build_id as live_rollout_build_id, live.port as live_port,
         coalesce(live.container_port, live.exposed_port) as live_container_port,
         live.replicas as live_replicas, live.finished_at as live_since
    from products p
    left join docker_images i on i.id = p.image_id
    left join rollouts live on live.id = p.live_rollout_id;

-- ---------------------------------------------------------------- notices: what people are told

create type notice_event as enum ('build_succeeded', 'build_failed', 'rollout_done', 'rollout_failed');

create table channels (
  id         bigint generated always as identity primary key,
  name       text not null unique,
  kind       text not null,
  enabled    boolean not null default true,
  url_sealed text,                                               -- null: SLACK_WEBHOOK_URL of the settings
  events     notice_event[],                                     -- null: every event, also those of later releases
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  disabled_reason text,                                          -- why it switched itself off; null: it did not
  paused_until timestamptz,                                      -- its receiver asked for rest until then, or has had a burst
  images       text[] not null default '{}',                     -- globs on names; none: every image
  products     text[] not null default '{}',                     -- globs on slugs; none: every product
  secret_sealed text,                                            -- what its messages are signed with; null: nothing is signed
  burst_began_at timestamptz,                                    -- when the first of the messages was sent
  burst_messages int not null default 0,                         -- that are counted here
  check (disabled_reason is null or not enabled)
);

create type notice_subject as enum ('build', 'rollout');

create type notice_state as enum (
  'pending',   -- waits for its turn, or for the next try
  'sent',      -- pending -> sent: the receiver took it
  'failed'     -- pending -> failed: the receiver refused it for good, never took it in time, or is switched off
);

create table notices (
  id           bigint generated always as identity primary key,
  channel_id   bigint not null references channels on delete cascade,
  event        notice_event not null,
  subject      notice_subject not null,                          -- a build stands for all rollouts that it set going
  subject_id   bigint not null,                                  -- the build's or the rollout's id
  facts        jsonb not null,
  state        notice_state not null default 'pending',
  attempt      int not null default 0,
  run_after    timestamptz not null default now(),
  lease_token  uuid,
  lease_until  timestamptz,
  worker       text,
  status       int,                                              -- HTTP status of the last answer
  answer       text,
  message_id   uuid,                                             -- the message that it goes out with, from the first try on
  created_at   timestamptz not null default now(),
  finished_at  timestamptz,
  unique (channel_id, event, subject, subject_id),               -- one event is told once
  check ((state = 'pending') = (finished_at is null))
);
create index notices_to_claim on notices (run_after, id) where state = 'pending';
create index notices_waiting on notices (channel_id, id) where state = 'pending';
create index notices_by_channel on notices (channel_id, id);

-- A build that set rollouts going, for as long as it has not been told to the end what became of them: one message for all.
create table shipments (
  build_id         bigint primary key references builds on delete cascade,
  facts            jsonb not null,                               -- the build's, and how many rollouts it set going
  created_at       timestamptz not null default now(),
  progress_told_at timestamptz                                   -- when it was told how far it is, because it takes long
);

-- ---------------------------------------------------------------- reports: what GitHub is told

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

-- ---------------------------------------------------------------- access: who may do what, and who did

create type api_role as enum (
  'read',     -- look at everything
  'deploy',   -- and build, change and run images and products
  'admin'     -- and say what is watched, who may do what, who is told, and what is kept
);

create table tokens (
  id           bigint generated always as identity primary key,
  name         text not null,
  role         api_role not null,
  hash         bytea not null unique,                            -- SHA-256 of a random token: it cannot be guessed back
  created_at   timestamptz not null default now(),
  expires_at   timestamptz,
  last_used_at timestamptz,                                      -- to the minute
  revoked_at   timestamptz                                       -- kept, so that the audit log can name it
);
create unique index tokens_by_name on tokens (name) where revoked_at is null;

-- People who signed in to the dashboard. A session lasts no longer than the token that it was begun with.
create table sessions (
  id         bigint generated always as identity primary key,
  hash       bytea not null unique,                              -- SHA-256 of what the cookie holds
  token_id   bigint references tokens,                           -- null: the administrator's token of the settings,
  token_hash bytea not null,                                     -- which another may have taken the place of since
  created_at timestamptz not null default now(),
  used_at    timestamptz not null default now(),                 -- to the minute
  expires_at timestamptz not null                                -- moves on while it is used
);
create index sessions_by_expiry on sessions (expires_at);

-- One row for each change that somebody asked for, written in the transaction that makes the change.
create table audit_log (
  id           bigint generated always as identity primary key,
  at           timestamptz not null default now(),
  actor        text not null,                                    -- the token's name, who pushed the tag, or tagship
  token_id     bigint references tokens,
  via          text not null,                                    -- api, cli, dashboard, webhook, reconcile
  address      text,                                             -- the client's, as far as the proxy before us says
  action       text not null,                                    -- the operation's name, as in the OpenAPI document
  subject      text not null,                                    -- what kind of thing it was done to
  subject_id   bigint,
  subject_name text not null,
  details      jsonb not null default '{}'                       -- never a secret
);
create index audit_by_subject on audit_log (subject, subject_id, id);
create index audit_by_kind on audit_log (subject, id);
create index audit_by_actor on audit_log (actor, id);
create index audit_by_action on audit_log (action, id);

-- ---------------------------------------------------------------- chores: what is done from time to time, by one process

create table chores (
  id          int primary key,
  name        text not null unique,                              -- purge, retention, orphans
  run_after   timestamptz not null default now(),
  lease_token uuid,
  lease_until timestamptz,
  worker      text,
  last_run_at timestamptz
);
insert into chores (id, name, run_after)
values (1, 'purge', now()), (2, 'retention', now() + interval '10 minutes'), (3, 'orphans', now() + interval '1 hour');

-- What our images and services on an engine are labelled with. A copy of this database is the same installation: two that
-- work on one engine would take each other's for their own.
create table installation (
  only_row boolean primary key default true check (only_row),
  id       uuid not null default gen_random_uuid()
);
insert into installation default values;
