-- name: start_looks
-- A process starts: every look is due, and failed deliveries are looked for wherever that is allowed.
update looks set run_after = least(run_after, now()),
                 hooks_after = case when hooks_error is null then least(hooks_after, now()) else hooks_after end;

-- name: missing_looks
-- Whatever is registered is looked at.
insert into looks (repo) select distinct lower(repo) from repositories on conflict (repo) do nothing;

-- name: forget_old_redeliveries
-- GitHub sends nothing again that is older than this.
delete from redeliveries where asked_at < now() - interval '7 days';

-- name: claim_look
-- Take the look that has been due for longest, as far as the pace allows; what somebody asked for need not wait for that.
update looks set lease_token = $1, lease_until = now() + make_interval(secs => $2), worker = $3, begun_at = now()
 where id = (select l.id from looks l
              where l.run_after <= now() and (l.lease_until is null or l.lease_until < now())
                and (select p.closed_until from look_pace p) <= now()
                and (l.asks > l.asks_done or (select p.open_at from look_pace p) <= now())
              order by l.run_after, l.id for update skip locked limit 1)
returning id;

-- name: read_look
-- What a worker needs to know of the look it claimed, and the registrations whose tags it will see all of.
select l.id, l.repo, l.asks, l.begun_at, l.failures, l.pages, l.hooks_after <= now() as hooks_due,
       array(select r.id from repositories r where lower(r.repo) = l.repo order by r.id) as registrations,
       (select r.repo from repositories r where lower(r.repo) = l.repo order by r.id desc limit 1) as spelled
  from looks l where l.id = $1 and l.lease_token = $2;

-- name: renew_look
-- Keep the lease; no row: it was lost, or the repository is not registered any more.
update looks set lease_until = now() + make_interval(secs => $3) where id = $1 and lease_token = $2 returning id;

-- name: seen_of
-- What is known of these tags of a repository.
select tag, commit_sha, listed_sha from seen_tags where repo = $1 and tag = any($2::text[]);

-- name: images_named
-- Which of these tags have an image of that name, also one that is being deleted.
select tag, deleting_at is not null as deleting from docker_images where name = $1 and tag = any($2::text[]);

-- name: lock_registrations
-- The registrations that a look is for, locked until its builds are queued.
select id from repositories where id = any($1::bigint[]) order by id for no key update;

-- name: hold_look
-- The look goes on being ours until the transaction ends, asked for so often; no row: it is not ours.
select asks from looks where id = $1 and lease_token = $2 for no key update;

-- name: note_seen_tags
-- What the look saw. What a delivery has told of since the look began stays: those tags are not returned.
insert into seen_tags (repo, tag, commit_sha, listed_sha)
select $1, s.tag, s.commit_sha, s.listed_sha
  from unnest($2::text[], $3::text[], $4::text[]) as s (tag, commit_sha, listed_sha) order by s.tag
on conflict (repo, tag) do update set commit_sha = excluded.commit_sha, listed_sha = excluded.listed_sha, seen_at = now()
 where seen_tags.seen_at < $5
returning tag;

-- name: end_first_look
-- These registrations have had their first look, and what was owed to them is queued.
update repositories set first_look_at = coalesce(first_look_at, now()), backfill = false where id = any($1::bigint[]);

-- name: settle_look
-- The tags were listed. Whoever has asked since gets another look.
update looks set lease_token = null, lease_until = null, worker = null, failures = $7, looked_at = now(), error = $6,
                 asks_done = $3, run_after = case when asks = $3 then $4 else now() end,
                 pages = case when asks = $3 then $5::jsonb else '[]' end
 where id = $1 and lease_token = $2 returning id;

-- name: fail_look
-- The tags could not be listed. What was asked for is still owed, but does not go before the others any more.
update looks set lease_token = null, lease_until = null, worker = null, failures = $5, error = $6,
                 asks_done = case when $7 then $3 else asks_done end, run_after = case when asks = $3 then $4 else now() end
 where id = $1 and lease_token = $2 returning id;

-- name: hand_back_look
-- Another worker may begin it anew at once.
update looks set lease_token = null, lease_until = null, worker = null where id = $1 and lease_token = $2 returning id;

-- name: slow_down
-- So much later may the next look begin, and none at all before some seconds have passed; a pause is saved up for two.
update look_pace set open_at = greatest(open_at, now() - interval '2 seconds') + make_interval(secs => $1),
                     closed_until = greatest(closed_until, now() + make_interval(secs => $2));

-- name: put_hooks_off
-- Failed deliveries of the repository are looked for again after so many seconds.
update looks set hooks_after = now() + make_interval(secs => $3), hooks_error = $4 where id = $1 and lease_token = $2 returning id;

-- name: stored_guids
-- Which of these deliveries have arrived.
select guid from deliveries where guid = any($1::text[]);

-- name: redeliveries_of
-- What GitHub was asked to send again of these, how often, and how many seconds ago.
select guid, times, extract(epoch from now() - asked_at)::float8 as ago_s from redeliveries where guid = any($1::text[]);

-- name: note_redelivery
-- GitHub is about to be asked to send it again; no row: somebody else was faster, or it was asked often enough.
insert into redeliveries (guid, repo) values ($1, $2)
on conflict (guid) do update set times = redeliveries.times + 1, asked_at = now()
 where redeliveries.times < $3 and redeliveries.asked_at <= now() - make_interval(secs => $4)
returning guid;
