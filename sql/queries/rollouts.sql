-- name: supersede_rollouts
-- pending | applying | converging -> superseded: newer rollouts of these products take over; never from a removal.
update rollouts set state = 'superseded', finished_at = now(), lease_token = null, lease_until = null
 where product_id = any($1::bigint[]) and state in ('pending', 'applying', 'converging') and kind <> 'remove'
returning id;

-- name: enqueue_rollouts
-- Queue one rollout for each of these products with everything it needs, frozen; $4 is the image of those without a pin.
-- And what GitHub shall be told of those that deploy what we built.
with made as (
insert into rollouts (product_id, kind, reason, image_id, image_name, image_tag, build_id, image, env_sealed, port,
                      container_port, publish_mode, replicas, healthcheck)
select p.id, $2, $3, p.image_id, i.name, i.tag, b.id,
       case $2::rollout_kind when 'deploy' then coalesce(b.exact_ref, $4) else coalesce(live.image, b.exact_ref, $4) end,
       p.env_sealed, p.port, p.container_port, p.publish_mode, p.replicas, p.healthcheck
  from products p
  left join docker_images i on i.id = p.image_id
  left join builds b on b.id = coalesce(p.held_build_id, i.live_build_id)
  left join rollouts live on live.id = p.live_rollout_id
 where p.id = any($1::bigint[])
 order by p.id
returning id, kind, build_id
), reported as (
insert into reports (rollout_id)
select id from made
 where kind = 'deploy' and build_id is not null and exists (select from reporting where enabled)
)
select id from made order by id;

-- name: products_deploying
-- These products have a rollout under way, to run ($2) or not to.
update products set status = $3, wanted = $2, updated_at = now() where id = any($1::bigint[]);

-- name: claim_rollout
-- Take the oldest rollout that waits or whose worker was lost, under a new lease. Its deadline counts from the first claim;
-- a later one leaves it some time again ($5), for it may have waited for an engine that was away, but not without end.
update rollouts set state = case state when 'pending' then 'applying' else state end,
                    lease_token = $1, lease_until = now() + make_interval(secs => $2), worker = $3,
                    started_at = coalesce(started_at, now()), attempt = attempt + 1,
                    deadline_at = case when deadline_at is null then now() + make_interval(secs => $4)
                                       when attempt < 10 then greatest(deadline_at, now() + make_interval(secs => $5))
                                       else deadline_at end
 where id = (select id from rollouts
              where state in ('pending', 'applying', 'converging') and run_after <= now()
                and (lease_until is null or lease_until < now())
              order by id for update skip locked limit 1)
returning id, case when attempt = 1 then extract(epoch from now() - run_after)::float8 end as waited_s;

-- name: read_rollout
-- One rollout.
select *, (select n.id::text from installation n) as installation from rollout_overview where id = $1;

-- name: read_rollouts
-- Several rollouts.
select *, (select n.id::text from installation n) as installation from rollout_overview where id = any($1::bigint[]);

-- name: rollouts_of_product
-- A page of a product's rollouts, newest first.
select *, (select n.id::text from installation n) as installation
  from rollout_overview where product_id = $1 and ($2::bigint is null or id < $2) order by id desc limit $3;

-- name: renew_rollout
-- Keep the lease; no row: it was lost.
update rollouts set lease_until = now() + make_interval(secs => $3) where id = $1 and lease_token = $2 returning id;

-- name: time_under_lease
-- The database's time, if the lease still holds.
select clock_timestamp() from rollouts where id = $1 and lease_token = $2 and lease_until > now();

-- name: note_tasks_before
-- Remember which tasks are there before the spec is applied, unless that is known.
update rollouts set tasks_before = $3 where id = $1 and lease_token = $2 and tasks_before = '{}' returning id;

-- name: mark_converging
-- applying -> converging: the swarm has the spec.
update rollouts set state = 'converging', applied_at = coalesce(applied_at, now()), service_id = $3, exposed_port = $4
 where id = $1 and lease_token = $2 and state in ('applying', 'converging') returning id;

-- name: record_progress
-- What a look at the tasks showed.
update rollouts set progress = $3, steady_since = $4, steady_tasks = $5 where id = $1 and lease_token = $2 returning id;

-- name: record_failure
-- Remember that it failed and why before anything is put back, so that a lost worker's successor does not try again.
update rollouts set error = $3, task_errors = $4 where id = $1 and lease_token = $2 returning id;

-- name: lock_product_of
-- Lock the product of a rollout, before the rollout itself.
select p.id from products p where p.id = (select product_id from rollouts where id = $1) for no key update;

-- name: settle_rollout
-- applying | converging -> done | failed | rolled_back.
update rollouts set state = $3, finished_at = now(), lease_token = null, lease_until = null
 where id = $1 and lease_token = $2 and state in ('applying', 'converging') returning product_id, service_id;

-- name: settle_product
-- Say what the product is now that its rollout is final.
update products set status = $2, live_rollout_id = $3, service_id = coalesce($4, service_id), updated_at = now() where id = $1;

-- name: seconds_since_push
-- How long ago the delivery came, or was replayed, whose build this rollout ships, if it is a new build that it ships.
select extract(epoch from now() - coalesce(d.replayed_at, d.received_at))::float8
  from rollouts r join builds b on b.id = r.build_id join deliveries d on d.id = b.delivery_id
 where r.id = $1 and r.kind = 'deploy' and r.reason in ('image_built', 'pin_moved');

-- name: delete_removed_product
-- The product whose service a removal took away goes, with its rollouts, if the lease still holds.
delete from products
 where id = (select product_id from rollouts where id = $1 and lease_token = $2 and kind = 'remove') returning id;

-- name: removal_under_way
-- The rollout that removes this product.
select id from rollouts where product_id = $1 and kind = 'remove' and state in ('pending', 'applying', 'converging');

-- name: past_deploys
-- What a product has successfully run, oldest first; equal fingerprints mean equal services. A rollback under way counts,
-- so that a second one goes further back, and not to what the first one leaves.
select id, reason, fingerprint from (
  select id, reason, md5(row(image, env_sealed, port, container_port, publish_mode, replicas, healthcheck)::text) as fingerprint
    from rollouts
   where product_id = $1 and kind = 'deploy'
     and (state = 'done' or reason = 'rollback' and state in ('pending', 'applying', 'converging'))
   order by id desc limit 500) newest
 order by id;

-- name: wanted_fingerprint
-- The fingerprint of what a product asks for now; one without a pin asks for what is rolled out, else for what it runs.
select md5(row(coalesce(b.exact_ref, coming.image, live.image), p.env_sealed, p.port, p.container_port, p.publish_mode, p.replicas,
               p.healthcheck)::text)
  from products p
  left join docker_images i on i.id = p.image_id
  left join builds b on b.id = coalesce(p.held_build_id, i.live_build_id)
  left join rollouts live on live.id = p.live_rollout_id
  left join rollouts coming on coming.product_id = p.id and coming.kind = 'deploy'
                           and coming.state in ('pending', 'applying', 'converging')
 where p.id = $1;

-- name: images_rolled_out
-- Which pin and commit some exact images of a product's rollouts were; the newest rollout speaks for each.
select distinct on (image) image, image_name, image_tag, commit_sha
  from rollout_overview where product_id = $1 and image = any($2::text[]) order by image, id desc;

-- name: hand_back_rollout
-- The worker stops: another goes on from where this one was, and this claim does not count.
update rollouts set lease_token = null, lease_until = null, worker = null, run_after = now(), attempt = attempt - 1
 where id = $1 and lease_token = $2 returning id;

-- name: delay_rollout
-- The engine does not answer: another look after some seconds.
update rollouts set lease_token = null, lease_until = null, worker = null, run_after = now() + make_interval(secs => $3)
 where id = $1 and lease_token = $2 returning id;
