-- name: supersede_rollouts
-- pending | applying | converging -> superseded: newer rollouts of these products take over.
update rollouts set state = 'superseded', finished_at = now(), lease_token = null, lease_until = null
 where product_id = any($1::bigint[]) and state in ('pending', 'applying', 'converging');

-- name: enqueue_rollouts
-- Queue one rollout for each of these products with everything it needs, frozen; $4 is the image of those without a pin.
insert into rollouts (product_id, kind, reason, image_id, build_id, image, env_sealed, port, container_port, publish_mode,
                      replicas, healthcheck)
select p.id, $2, $3, p.image_id, i.live_build_id, coalesce(b.exact_ref, $4), p.env_sealed, p.port, p.container_port,
       p.publish_mode, p.replicas, p.healthcheck
  from products p
  left join docker_images i on i.id = p.image_id
  left join builds b on b.id = i.live_build_id
 where p.id = any($1::bigint[])
 order by p.id
returning id;

-- name: products_deploying
-- These products have a rollout under way.
update products set status = 'deploying', updated_at = now() where id = any($1::bigint[]);

-- name: claim_rollout
-- Take the oldest rollout that waits or whose worker was lost, under a new lease; its deadline counts from the first claim.
update rollouts set state = case when state = 'pending' then 'applying' else state end,
                    lease_token = $1, lease_until = now() + make_interval(secs => $2), worker = $3,
                    started_at = coalesce(started_at, now()),
                    deadline_at = coalesce(deadline_at, now() + make_interval(secs => $4))
 where id = (select id from rollouts
              where state in ('pending', 'applying', 'converging') and run_after <= now()
                and (lease_until is null or lease_until < now())
              order by id for update skip locked limit 1)
returning id;

-- name: read_rollout
-- One rollout with what it needs to know of its product, and where the product's image came from.
select r.*, p.slug, p.name as product_name, p.live_rollout_id, b.commit_sha, d.guid as delivery_guid,
       i.name as image_name, i.tag as image_tag, i.github_repo
  from rollouts r
  join products p on p.id = r.product_id
  left join builds b on b.id = r.build_id
  left join deliveries d on d.id = b.delivery_id
  left join docker_images i on i.id = r.image_id
 where r.id = $1;

-- name: rollouts_of_product
-- A page of a product's rollouts, newest first.
select r.*, p.slug, p.name as product_name, p.live_rollout_id, b.commit_sha, d.guid as delivery_guid,
       i.name as image_name, i.tag as image_tag, i.github_repo
  from rollouts r
  join products p on p.id = r.product_id
  left join builds b on b.id = r.build_id
  left join deliveries d on d.id = b.delivery_id
  left join docker_images i on i.id = r.image_id
 where r.product_id = $1 and ($2::bigint is null or r.id < $2) order by r.id desc limit $3;

-- name: renew_rollout
-- Keep the lease and tell the database's time; no row: the lease was lost.
update rollouts set lease_until = now() + make_interval(secs => $3)
 where id = $1 and lease_token = $2 returning clock_timestamp() as now;

-- name: mark_converging
-- applying -> converging: the swarm has the spec.
update rollouts set state = 'converging', applied_at = coalesce(applied_at, now()), service_id = $3
 where id = $1 and lease_token = $2 and state in ('applying', 'converging') returning id;

-- name: record_progress
-- What a look at the tasks showed.
update rollouts set progress = $3, steady_since = $4, steady_tasks = $5 where id = $1 and lease_token = $2 returning id;

-- name: record_failure
-- Remember that it failed and why before anything is put back, so that a lost worker's successor does not try again.
update rollouts set error = $3, task_errors = $4 where id = $1 and lease_token = $2 returning id;

-- name: settle_rollout
-- applying | converging -> done | failed | rolled_back.
update rollouts set state = $3, finished_at = now(), lease_token = null, lease_until = null
 where id = $1 and lease_token = $2 and state in ('applying', 'converging') returning product_id, service_id;

-- name: settle_product
-- Say what the product is now that its rollout is final.
update products set status = $2, live_rollout_id = $3, service_id = coalesce($4, service_id), updated_at = now() where id = $1;

-- name: hand_back_rollout
-- The worker stops: another goes on from where this one was.
update rollouts set lease_token = null, lease_until = null, worker = null, run_after = now()
 where id = $1 and lease_token = $2 returning id;

-- name: delay_rollout
-- The engine does not answer: another look after some seconds.
update rollouts set lease_token = null, lease_until = null, worker = null, run_after = now() + make_interval(secs => $3)
 where id = $1 and lease_token = $2 returning id;
