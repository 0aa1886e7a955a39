-- name: upsert_image
-- Make sure that the image row exists and lock it, so that one transaction at a time decides what it builds next; one
-- that is being deleted is wanted again.
insert into docker_images (name, tag, github_repo, github_ref)
values ($1, $2, $3, $4)
on conflict (name, tag) do update set github_repo = excluded.github_repo, github_ref = excluded.github_ref, deleting_at = null
returning id, latest_build_id;

-- name: insert_image
-- Make the image row, or take over one that is being deleted; no row when name and tag are taken.
insert into docker_images (name, tag, github_repo, github_ref)
values ($1, $2, $3, $4)
on conflict (name, tag) do update set github_repo = excluded.github_repo, github_ref = excluded.github_ref, deleting_at = null
 where docker_images.deleting_at is not null
returning id;

-- name: image_id_by_name
-- The id of the image of that name and tag.
select id from docker_images where name = $1 and tag = $2;

-- name: lock_image
-- Lock one image row, so that one transaction at a time decides what it builds next.
select id, latest_build_id from docker_images where id = $1 and deleting_at is null for no key update;

-- name: read_build
-- One build.
select * from builds where id = $1;

-- name: insert_build
-- Queue one attempt to make a locked image, and what GitHub shall be told of it. From now on the image's build status is
-- that of this build, and older ones give way: those that nobody works on yet are cancelled, the worker of a running one
-- is asked to stop. One statement, since a burst of deliveries waits for each round trip.
with older as (
  update builds set cancel_requested_at = coalesce(cancel_requested_at, now()),
                    state = case state when 'pending' then 'cancelled' else state end,
                    finished_at = case state when 'pending' then now() end,
                    error = case state when 'pending' then 'replaced by a newer build of the same image' end
   where image_id = $1 and state in ('pending', 'building')
), made as (
  insert into builds (image_id, repository_id, delivery_id, source, commit_sha, recipe)
  values ($1, $2, $3, $4, $5, $6)
  returning id
), reported as (
  insert into reports (build_id) select id from made where exists (select from reporting where enabled)
)
update docker_images set latest_build_id = made.id from made where docker_images.id = $1
returning made.id, pg_notify('tagship', $7);

-- name: lock_build
-- Let the end of a build and the wish to cancel it come one after the other: each must see what the other did.
select id from builds where id = $1 for no key update;

-- name: cancel_pending
-- pending -> cancelled, by a person.
update builds set state = 'cancelled', finished_at = now(), error = 'cancelled before it began'
 where id = $1 and state = 'pending' returning id;

-- name: ask_to_cancel
-- Ask the worker of a running build, which is locked, to stop it; false: somebody has asked before; no row: it does not run.
update builds b set cancel_requested_at = coalesce(b.cancel_requested_at, now())
  from (select id, cancel_requested_at is null as is_new from builds where id = $1) before
 where b.id = before.id and b.state = 'building' returning before.is_new;

-- name: claim_build
-- pending -> building: take the oldest build whose image nobody is building, under a new lease.
update builds set state = 'building', lease_token = $1, lease_until = now() + make_interval(secs => $2), worker = $3,
                  started_at = now()
 where id = (select b.id from builds b
              where b.state = 'pending' and b.run_after <= now()
                and not exists (select 1 from builds o where o.image_id = b.image_id and o.state = 'building')
              order by b.id for update skip locked limit 1)
returning id;

-- name: read_claimed
-- Everything a worker needs to know of the build it claimed.
select b.id, b.image_id, b.commit_sha, b.recipe, b.attempt, extract(epoch from b.started_at - b.run_after)::float8 as waited_s,
       b.source in ('delivery', 'reconcile')
         and exists (select 1 from builds o where o.image_id = b.image_id and o.id < b.id
                        and o.commit_sha is distinct from b.commit_sha) as tag_moved,
       i.name, i.tag, i.github_repo, i.github_ref, d.guid as delivery_guid,
       (select coalesce(max(l.seq), 0) from build_log l where l.build_id = b.id) as last_seq,
       (select n.id::text from installation n) as installation
  from builds b join docker_images i on i.id = b.image_id left join deliveries d on d.id = b.delivery_id
 where b.id = $1 and b.lease_token = $2;

-- name: renew_build
-- Keep the lease; no row: it was lost; true: somebody wants the build cancelled.
update builds set lease_until = now() + make_interval(secs => $3)
 where id = $1 and lease_token = $2 returning cancel_requested_at is not null as cancel_wanted;

-- name: set_commit
-- Record the commit that was looked up for a build that was queued without one.
update builds set commit_sha = $3 where id = $1 and lease_token = $2 returning id;

-- name: append_log
-- Write the next piece of the log, if the lease still holds; it cannot move on before this piece is committed or gone.
insert into build_log (build_id, seq, data)
select id, $3, $4 from builds where id = $1 and lease_token = $2 for share
returning seq;

-- name: read_log
-- The log behind one position, in order.
select seq, data, written_at from build_log where build_id = $1 and seq > $2 order by seq limit $3;

-- name: read_log_tail
-- The last pieces of the log, newest first.
select data from build_log where build_id = $1 order by seq desc limit $2;

-- name: succeed_build
-- building -> success: the engine has the image.
update builds set state = 'success', finished_at = now(), lease_token = null, lease_until = null,
                  image_ref = $3, exact_ref = $4, digest = $5, size_bytes = $6
 where id = $1 and lease_token = $2 and cancel_requested_at is null returning image_id;

-- name: set_live_build
-- From now on products pinned to the image run what this build made, unless a newer build took over meanwhile.
update docker_images set live_build_id = $2 where id = $1 and latest_build_id = $2 returning name, tag;

-- name: fail_build
-- building -> failed, with the sentence that says why.
update builds set state = 'failed', finished_at = now(), lease_token = null, lease_until = null, error = $3
 where id = $1 and lease_token = $2 returning image_id;

-- name: cancel_if_wanted
-- building -> cancelled, if that was asked for: what must not go on any more must not be tried again either.
update builds set state = 'cancelled', finished_at = now(), lease_token = null, lease_until = null, error = $3
 where id = $1 and lease_token = $2 and cancel_requested_at is not null returning id;

-- name: retry_build
-- building -> pending after a passing fault, not before the given number of seconds; no row when the attempts are used up.
update builds set state = 'pending', attempt = attempt + 1, lease_token = null, lease_until = null, worker = null,
                  run_after = now() + make_interval(secs => $3)
 where id = $1 and lease_token = $2 and attempt < 3 returning id;

-- name: hand_back_build
-- building -> pending because the worker stops: stopping is nobody's failure, so the last attempt is not used up by it.
update builds set state = 'pending', attempt = least(attempt + 1, 3), lease_token = null, lease_until = null, worker = null,
                  run_after = now()
 where id = $1 and lease_token = $2 returning id;

-- name: expired_builds
-- Builds whose worker has not been heard of in time, locked.
select id, lease_token, attempt from builds where state = 'building' and lease_until < now() for update skip locked;

-- name: read_image
-- One image as people see it.
select * from image_overview where id = $1;

-- name: list_images
-- A page of images, newest first, behind one id; with name, tag, repository and state as filters.
select * from image_overview
 where ($1::text is null or name = $1) and ($2::build_state is null or build_status = $2) and ($3::bigint is null or id < $3)
   and ($5::text is null or tag = $5) and ($6::text is null or lower(github_repo) = lower($6))
 order by id desc limit $4;

-- name: builds_of_image
-- Every build of an image, newest first.
select b.*, d.guid as delivery_guid from builds b left join deliveries d on d.id = b.delivery_id
 where b.image_id = $1 order by b.id desc;

-- name: build_facts
-- What a notice says about a build.
select b.id, b.state, b.commit_sha, b.error, b.attempt, b.image_ref, b.digest, b.size_bytes, b.image_id,
       extract(epoch from b.finished_at - b.started_at)::float8 as seconds,
       i.name, i.tag, i.github_repo
  from builds b join docker_images i on i.id = b.image_id where b.id = $1;

-- name: hold_build
-- What a build made may be run by whoever holds this until the transaction ends; no row: it was removed, or never made any.
select id from builds where id = $1 and state = 'success' and removed_at is null for share;

-- name: made_by
-- Which image and exact reference the builds with these ids have on record.
select id, image_id, exact_ref, digest from builds where id = any($1::bigint[]) and state = 'success';
