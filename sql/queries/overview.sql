-- name: flights
-- The tags in flight, those under way first and then the newest of the last day: the latest build of each image, who
-- pushed, how long builds of the same name usually take, and how many products are pinned to the image or to others of
-- its name by a rule.
with under_way as (
  select image_id from (select image_id from builds where state = 'building' limit 100) building
  union
  select image_id from (select image_id from builds where state = 'pending' order by id limit 100) waiting
  union
  select i.id from (select build_id from rollouts
                     where state in ('pending', 'applying', 'converging') and kind = 'deploy' and build_id is not null
                     order by id limit 500) moving
         join docker_images i on i.latest_build_id = moving.build_id
), candidates as (
  select image_id, true as active from under_way
  union all
  select distinct image_id, false from (select image_id, created_at from builds order by id desc limit 100) newest
   where created_at > now() - interval '1 day' and image_id not in (select image_id from under_way)
), chosen as (
  select c.active, i.* from candidates c join docker_images i on i.id = c.image_id
   where i.deleting_at is null order by c.active desc, i.latest_build_id desc limit $1
)
select c.id as image_id, c.name, c.tag, c.active, b.id as build_id, b.state, b.source, b.commit_sha, b.attempt, b.error,
       b.created_at, extract(epoch from b.finished_at - b.started_at)::float8 as seconds,
       case when b.state = 'building' then extract(epoch from now() - b.started_at)::float8 end as elapsed,
       d.id as delivery_id, case when d.replayed_at <= b.created_at then d.replayed_at else d.received_at end as pushed_at,
       (select a.actor from audit_log a
         where a.subject = 'delivery' and a.subject_id = b.delivery_id and a.details -> 'builds' @> to_jsonb(b.id)
         order by a.id limit 1) as actor,
       (select count(*) from products p where p.image_id = c.id and p.status <> 'deleting') as pinned,
       (select count(*) from docker_images o join products p on p.image_id = o.id
         where o.name = c.name and o.id <> c.id and p.track is not null and p.status <> 'deleting') as tracking,
       case when b.state = 'building' then
         (select percentile_cont(0.5) within group (order by took) from (
            select extract(epoch from done.finished_at - done.started_at)::float8 as took
              from (select id from docker_images o where o.name = c.name order by id desc limit 50) same
              join builds done on done.image_id = same.id and done.state = 'success'
             order by done.id desc limit 10) last_ones) end as usual
  from chosen c
  join builds b on b.id = c.latest_build_id
  left join deliveries d on d.id = b.delivery_id
 order by c.active desc, b.id desc;

-- name: cells
-- How each product fares with these builds: its last deploy of each, and whether it still runs that; the first products by
-- name, and how many there are in each state.
with last_ones as (
  select distinct on (r.build_id, r.product_id) r.build_id, p.id as product_id, p.name, r.progress, r.replicas,
         case when r.state <> 'done' then r.state::text
              when p.live_rollout_id is distinct from r.id then 'replaced'
              when p.status = 'deploying' then 'running'
              else p.status::text end as state
    from rollouts r join products p on p.id = r.product_id
   where r.build_id = any($1::bigint[]) and r.kind = 'deploy'
   order by r.build_id, r.product_id, r.id desc
), placed as (
  select *, row_number() over (partition by build_id order by name, product_id) as place,
         count(*) over (partition by build_id, state) as of_state
    from last_ones
)
select build_id, product_id, name, progress, state, of_state, place from placed
 where place <= $2 or (build_id, state, place) in (select build_id, state, min(place) from placed group by build_id, state)
 order by build_id, place;

-- name: log_ends
-- The ends of the last pieces of each of these builds' logs, in order.
select e.build_id, string_agg(e.piece, '' order by e.seq) as text
  from unnest($1::bigint[]) asked (build_id),
       lateral (select l.build_id, l.seq, right(l.data, 2000) as piece from build_log l
                 where l.build_id = asked.build_id order by l.seq desc limit 40) e
 group by e.build_id;

-- name: queue_now
-- How many builds run and wait, and for how long the oldest has been waiting that may begin.
select (select count(*) from builds where state = 'building') as running, count(*) as waiting,
       extract(epoch from now() - min(run_after) filter (where run_after <= now()))::float8 as oldest_s
  from builds where state = 'pending';

-- name: rollouts_now
-- Rollouts under way, oldest first, and how many there are.
select r.id, r.product_id, p.name, r.kind, r.reason, r.state, r.progress, r.image_name, r.image_tag, r.image_id, r.created_at,
       r.started_at, count(*) over () as of_all
  from rollouts r join products p on p.id = r.product_id
 where r.state in ('pending', 'applying', 'converging') order by r.id limit $1;

-- name: products_by_state
-- How many products are in each state, and of them those that shall run.
select status::text as state, count(*) as products, count(*) filter (where wanted) as wanted from products group by status;

-- name: fleet
-- How many products run each tag of each image, the newest images first; and how many shall run an image and do not.
with runs as (
  select coalesce(r.image_name, 'no pinned image') as name, r.image_tag as tag, max(r.image_id) as image_id, count(*) as products
    from products p
    join lateral (select image_name, image_tag, image_id from rollouts where id = p.live_rollout_id and kind = 'deploy' limit 1) r
      on true
   where p.status in ('running', 'deploying') group by 1, 2
), broken as (
  select coalesce(i.name, 'no pinned image') as name, count(*) as products
    from products p left join docker_images i on i.id = p.image_id where p.status = 'failed' group by 1
), names as (
  select name, sum(products) as products from (select name, products from runs union all select name, products from broken) all_of_them
   group by name order by 2 desc, 1 limit $1
)
select n.name, r.tag, r.image_id, r.products, false as is_failed, n.products as of_name from names n join runs r using (name)
union all
select n.name, null, null, b.products, true, n.products from names n join broken b using (name)
 order by of_name desc, name, is_failed, image_id desc nulls last, tag;

-- name: newest_deliveries
-- The last deliveries, newest first, with the image of the first build that each led to and how many builds those were.
select d.id, d.event, d.repo, d.ref, d.state, d.reason, d.received_at, made.image_id, made.name, made.tag, made.builds
  from deliveries d
  left join lateral (select b.image_id, i.name, i.tag, count(*) over () as builds
                       from builds b join docker_images i on i.id = b.image_id
                      where b.delivery_id = d.id order by b.id limit 1) made on true
 order by d.id desc limit $1;

-- name: failed_builds
-- Images whose latest build failed: those that products are pinned to, and those of the last week, if it is the newest
-- build of their name.
with suspects as (
  select id from builds where finished_at > now() - interval '7 days' and state = 'failed'
  union
  select i.latest_build_id from docker_images i where i.id in (select image_id from products where image_id is not null)
), failures as (
  select i.id as image_id, i.name, i.tag, b.id as build_id, b.error, b.finished_at, i.live_build_id is not null as was_built,
         (select count(*) from products p where p.image_id = i.id and p.status <> 'deleting') as pinned
    from suspects s join builds b on b.id = s.id join docker_images i on i.id = b.image_id and i.latest_build_id = b.id
   where b.state = 'failed' and i.deleting_at is null
)
select f.* from failures f
  join (select name, max(latest_build_id) as build_id from docker_images
         where deleting_at is null and name in (select name from failures) group by name) newest using (name)
 where f.pinned > 0 or f.build_id = newest.build_id
 order by f.finished_at desc limit $1;

-- name: failed_products
-- Products whose last rollout failed, or that should run and do not.
select p.id, p.name, p.status, r.state as rollout_state, r.id as rollout_id, r.error, r.image_name, r.image_tag, r.finished_at,
       live.image_name as live_name, live.image_tag as live_tag
  from products p
  left join lateral (select * from rollouts r where r.product_id = p.id order by r.id desc limit 1) r on true
  left join rollouts live on live.id = p.live_rollout_id
 where p.status <> 'deleting' and (p.status = 'failed' or r.state in ('failed', 'rolled_back'))
 order by r.finished_at desc nulls last, p.id limit $1;

-- name: failed_deliveries
-- Deliveries of the last week that could not be understood, newest first.
select id, event, repo, reason, received_at from deliveries
 where state = 'failed' and received_at > now() - interval '7 days' order by id desc limit $1;

-- name: channels_off
-- Channels that switched themselves off.
select id, name, disabled_reason, updated_at from channels where disabled_reason is not null order by name limit $1;

-- name: failed_looks
-- Repositories whose tags could not be listed the last time.
select l.repo, l.error, l.failures, l.looked_at from looks l where l.error is not null order by l.repo limit $1;
