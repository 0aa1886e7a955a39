-- name: built_images
-- What successful builds have made and nobody has removed, oldest first, of one image ($1) or of all.
select b.id as build_id, b.image_id, i.name, i.tag, b.image_ref, b.exact_ref, b.digest, b.size_bytes, b.finished_at as built_at,
       i.live_build_id is not distinct from b.id as live,
       exists (select 1 from builds o where o.image_id = b.image_id and o.state in ('pending', 'building')) as busy
  from builds b join docker_images i on i.id = b.image_id
 where b.state = 'success' and b.removed_at is null and i.deleting_at is null and ($1::bigint is null or b.image_id = $1)
 order by b.id;

-- name: time
-- The database's time.
select now();

-- name: uses
-- Which builds and exact images products run, will run, are pinned to, or ran; of the last the newest $1 of each product.
select p.slug as product, 'runs' as why, r.build_id, r.image, 0::bigint as rank
  from products p join rollouts r on r.id = p.live_rollout_id
union all
select p.slug, 'rolling_out', r.build_id, r.image, 0
  from rollouts r join products p on p.id = r.product_id where r.state in ('pending', 'applying', 'converging')
union all
select p.slug, 'pinned', i.live_build_id, null, 0
  from products p join docker_images i on i.id = p.image_id where i.live_build_id is not null
union all
select p.slug, 'pinned', p.held_build_id, null, 0 from products p where p.held_build_id is not null
union all
select slug, 'rollback', build_id, image, rank
  from (select p.slug, r.build_id, r.image, row_number() over (partition by p.id order by max(r.id) desc) as rank
          from rollouts r join products p on p.id = r.product_id
         where r.state = 'done' and r.kind = 'deploy' group by p.id, p.slug, r.build_id, r.image) ran
 where rank <= $1;

-- name: lock_build
-- Lock a build: whoever queues a rollout of it has either done so before, or waits.
select id from builds where id = $1 for update;

-- name: mark_removed
-- From now on nothing may run what this build made; no row: something does, will, or is pinned to it, or it was removed.
update builds b set removed_at = now()
 where b.id = $1 and b.state = 'success' and b.removed_at is null
   and not exists (select 1 from rollouts r
                    where r.state in ('pending', 'applying', 'converging') and (r.build_id = b.id or r.image = b.exact_ref))
   and not exists (select 1 from products p join rollouts r on r.id = p.live_rollout_id
                    where r.build_id = b.id or r.image = b.exact_ref)
   and not exists (select 1 from products p where p.held_build_id = b.id)
   and not exists (select 1 from docker_images i where i.live_build_id = b.id
                      and (exists (select 1 from products p where p.image_id = i.id)
                           or exists (select 1 from builds o where o.image_id = i.id and o.state in ('pending', 'building'))))
returning b.image_id;

-- name: forget_live
-- The image has nothing to run any more, if this build was what it had.
update docker_images set live_build_id = null where live_build_id = $1;

-- name: to_purge
-- Removed builds whose images may still be on the engine or in the registry, behind one id; of one image ($1) or of all.
select b.id as build_id, b.image_id, i.name, i.tag, b.image_ref, b.exact_ref, b.digest, b.size_bytes, b.finished_at as built_at
  from builds b join docker_images i on i.id = b.image_id
 where b.removed_at is not null and b.purged_at is null and ($1::bigint is null or b.image_id = $1) and b.id > $2
 order by b.id limit $3;

-- name: mark_purged
-- Neither engine nor registry has it any more.
update builds set purged_at = now() where id = $1 and removed_at is not null and purged_at is null;

-- name: digest_is_needed
-- Whether another build, which was not removed, has the same manifest.
select exists (select 1 from builds where exact_ref = $2 and id <> $1 and state = 'success' and removed_at is null);

-- name: image_in_use
-- The products that are pinned to an image, or run or are being rolled out to what any of its builds made.
select p.id, p.slug, p.name from products p
 where p.image_id = $1
    or exists (select 1 from builds b where b.id = p.held_build_id and b.image_id = $1)
    or exists (select 1 from rollouts r
                where r.product_id = p.id
                  and (r.id = p.live_rollout_id or r.state in ('pending', 'applying', 'converging'))
                  and (r.image_id = $1 or r.build_id in (select id from builds where image_id = $1)
                       or r.image in (select exact_ref from builds where image_id = $1 and exact_ref is not null)))
 order by p.id;

-- name: image_is_busy
-- Whether a build of the image waits or runs.
select exists (select 1 from builds where image_id = $1 and state in ('pending', 'building'));

-- name: lock_builds
-- Lock all builds of an image, in the order of their ids.
select id from builds where image_id = $1 order by id for update;

-- name: mark_deleting
-- The image is gone for everybody, and has nothing to run any more.
update docker_images set deleting_at = now(), live_build_id = null where id = $1 and deleting_at is null returning id;

-- name: remove_all_builds
-- Everything that builds of this image made has to go.
update builds set removed_at = now() where image_id = $1 and state = 'success' and removed_at is null;

-- name: delete_purged_image
-- The row of an image that is being deleted goes with its builds and logs once nothing that they made is left.
delete from docker_images i
 where i.id = $1 and i.deleting_at is not null
   and not exists (select 1 from builds b where b.image_id = i.id and b.removed_at is not null and b.purged_at is null)
returning id;

-- name: images_to_delete
-- Images that are being deleted and have nothing left on the engine.
select i.id from docker_images i
 where i.deleting_at is not null
   and not exists (select 1 from builds b where b.image_id = i.id and b.removed_at is not null and b.purged_at is null)
 order by i.id;

-- name: claim_chore
-- Take one of these chores that is due and that nobody works on, under a new lease.
update chores set lease_token = $1, lease_until = now() + make_interval(secs => $2), worker = $3
 where id = (select id from chores
              where name = any($4::text[]) and run_after <= now() and (lease_until is null or lease_until < now())
              order by run_after for update skip locked limit 1)
returning id, name;

-- name: renew_chore
-- Keep the lease; no row: it was lost.
update chores set lease_until = now() + make_interval(secs => $3) where id = $1 and lease_token = $2 returning id;

-- name: settle_chore
-- It is done, or has to wait; next time after so many seconds.
update chores set lease_token = null, lease_until = null, worker = null, run_after = now() + make_interval(secs => $3),
                  last_run_at = case when $4 then now() else last_run_at end
 where id = $1 and lease_token = $2 returning id;

-- name: chore_at_start
-- Let a chore be due: a process begins, and what the one before left is looked for at once.
update chores set run_after = now() where name = $1 and run_after > now();

-- name: installation
-- What our images and services on an engine are labelled with.
select id::text from installation;

-- name: builds_known
-- What is on record of these builds; only what was not removed counts as made. While one is held, `at_work` is its attempt.
select id, case when state = 'building' then attempt end as at_work,
       state in ('success', 'failed', 'cancelled') as over, state = 'success' as succeeded,
       case when purged_at is null then array_remove(array[exact_ref, digest], null) else '{}' end as made
  from builds where id = any($1::bigint[]);

-- name: builds_at_work
-- The newest build id that was ever given away, and since when a build has been running.
select coalesce(pg_sequence_last_value(pg_get_serial_sequence('builds', 'id')::regclass), 0) as last_build_id,
       (select min(started_at) from builds where state = 'building') as claimed_since;

-- name: products_asked_to_go
-- Those of these slugs whose product somebody asked to delete.
select distinct subject_name as slug from audit_log
 where action = 'delete_product' and subject = 'product' and subject_name = any($1::text[]);

-- name: products_that_exist
-- Those of these slugs that a product has.
select slug from products where slug = any($1::text[]);
