-- name: queues
-- What waits, runs, is put off or was abandoned in each stage's queue, and for how long the oldest has been waiting.
-- Only rows under way are read, by their partial indexes, and of repositories there are few. A notice of a channel that
-- is paused is put off, and so are a report that GitHub does not want and a look that would go too fast.
with jobs (stage, run_after, lease_until, put_off) as (
  select 'build', run_after, null::timestamptz, false from builds where state = 'pending'
  union all
  select 'build', run_after, lease_until, false from builds where state = 'building'
  union all
  select 'rollout', run_after, lease_until, false from rollouts where state in ('pending', 'applying', 'converging')
  union all
  select 'notice', n.run_after, n.lease_until, coalesce(c.paused_until > now(), false)
    from notices n join channels c on c.id = n.channel_id where n.state = 'pending'
  union all
  select 'report', v.run_after, v.lease_until,
         exists (select from report_refusals f
                  where f.repo = lower(v.github_repo) and f.kind = v.kind and f.retry_at > now())
    from report_overview v
   where v.finished_at is null
     and (v.lease_until is not null
          or v.commit_sha is not null and (v.told is distinct from v.state or v.told_sha is distinct from v.commit_sha))
  union all
  select 'look', l.run_after, l.lease_until,
         (select p.closed_until > now() or p.open_at > now() and l.asks = l.asks_done from look_pace p) from looks l
), sorted as (
  select stage, greatest(run_after, lease_until) as since,
         case when lease_until >= now() then 'running'
              when lease_until < now() then 'abandoned'
              when put_off or run_after > now() then 'delayed'
              else 'waiting' end as state
    from jobs
)
select stage,
       count(*) filter (where state = 'waiting') as waiting,
       count(*) filter (where state = 'delayed') as delayed,
       count(*) filter (where state = 'running') as running,
       count(*) filter (where state = 'abandoned') as abandoned,
       coalesce(extract(epoch from now() - min(since) filter (where state in ('waiting', 'abandoned'))), 0)::float8
         as oldest_s
  from sorted group by stage;

-- name: states
-- How many builds and rollouts that are under way, products and channels are in each state, how many repositories could
-- not be looked at and refuse reports; and how many seconds ago each chore was done.
select 'builds' as what, state::text as state, count(*)::float8 as number
  from (select state from builds where state = 'pending' union all select state from builds where state = 'building') b
 group by state
union all
select 'rollouts', state::text, count(*) from rollouts where state in ('pending', 'applying', 'converging') group by state
union all
select 'products', status::text, count(*) from products group by status
union all
select 'channels', case when enabled then 'on' when disabled_reason is null then 'off' else 'switched_off' end, count(*)
  from channels group by 2
union all
select 'looks', case when error is null then 'ok' else 'failing' end, count(*) from looks group by 2
union all
select 'refusals', kind::text, count(*) from report_refusals where retry_at > now() group by kind
union all
select 'chores', name, extract(epoch from now() - last_run_at) from chores where last_run_at is not null;
