-- name: build_days
-- Builds that ended on each day of the last ones (UTC), and on all of them together (day is null): how many succeeded and
-- failed, and how long those that began at once had waited for a worker.
select (b.finished_at at time zone 'UTC')::date as day, count(*) filter (where b.state = 'success') as succeeded,
       count(*) filter (where b.state = 'failed') as failed,
       percentile_cont(0.5) within group (order by extract(epoch from b.started_at - b.created_at)::float8)
         filter (where b.attempt = 1) as waited,
       percentile_cont(0.9) within group (order by extract(epoch from b.started_at - b.created_at)::float8)
         filter (where b.attempt = 1) as waited_most
  from builds b where b.finished_at >= $1 group by grouping sets ((1), ()) order by 1;

-- name: duration_days
-- How long successful builds took on each day, of the image names that were built most, and together (day is null).
with done as (
  select i.name, (b.finished_at at time zone 'UTC')::date as day, extract(epoch from b.finished_at - b.started_at)::float8 as took
    from builds b join docker_images i on i.id = b.image_id
   where b.finished_at >= $1 and b.state = 'success' and ($3::text is null or i.name = $3)
), names as (
  select name, count(*) as builds from done group by name order by 2 desc, 1 limit $2
)
select n.name, n.builds as of_name, done.day, count(*) as builds, percentile_cont(0.5) within group (order by took) as took,
       percentile_cont(0.9) within group (order by took) as took_most
  from names n join done on done.name = n.name
 group by grouping sets ((n.name, n.builds, done.day), (n.name, n.builds)) order by n.builds desc, n.name, done.day;

-- name: deploy_days
-- Deploys that ended on each day (UTC), and together (day is null): how many came to run, and how many failed; and for
-- new builds how long it took from the tag's delivery, or its replay, until the product ran it.
select (r.finished_at at time zone 'UTC')::date as day, count(*) filter (where r.state = 'done') as done,
       count(*) filter (where r.state in ('failed', 'rolled_back')) as failed,
       percentile_cont(0.5) within group (order by lead.seconds) as lead, count(lead.seconds) as leads,
       percentile_cont(0.9) within group (order by lead.seconds) as lead_most
  from rollouts r
  left join lateral (
    select extract(epoch from r.finished_at - case when d.replayed_at <= b.created_at then d.replayed_at else d.received_at end)::float8
             as seconds
      from builds b join deliveries d on d.id = b.delivery_id
     where b.id = r.build_id and r.reason in ('image_built', 'pin_moved') and r.state = 'done' limit 1) lead on true
 where r.finished_at >= $1 and r.kind = 'deploy' group by grouping sets ((1), ()) order by 1;

-- name: window_start
-- The first moment of the first of so many days up to today (UTC), and today.
select (date_trunc('day', now() at time zone 'UTC') - make_interval(days => $1 - 1)) at time zone 'UTC' as since,
       (now() at time zone 'UTC')::date as today;
