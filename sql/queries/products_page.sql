-- name: products_ranked
-- The ids of a page of products, what is wrong first and then by name, behind one of them, or before it, nearest first ($5);
-- with state, image name and text as filters. A product whose newest rollout failed stands before those that run as asked.
with ranked as (
  select p.id, row_number() over (order by
         case when p.status = 'failed' then 0 when newest.state in ('failed', 'rolled_back') then 1
              when p.status in ('deploying', 'deleting') then 2 when p.status = 'awaiting_image' then 3
              when p.status = 'running' then 4 else 5 end, lower(p.name), p.id) as place
    from products p
    left join docker_images i on i.id = p.image_id
    left join lateral (select r.state from rollouts r where r.product_id = p.id order by r.id desc limit 1) newest on true
   where ($1::product_status is null or p.status = $1) and ($2::text is null or i.name = $2)
     and ($3::text is null or strpos(lower(p.name), lower($3)) > 0 or strpos(p.slug, lower($3)) > 0)
)
select r.id from ranked r left join ranked mark on mark.id = $4
 where $4::bigint is null or case when $5 then r.place < mark.place else r.place > mark.place end
 order by case when $5 then -r.place else r.place end limit $6;

-- name: products_listed
-- These products as the list shows them, in the order given: what each is pinned to, what it runs, and its newest rollout.
select p.id, p.slug, p.name, p.status, p.wanted, p.port, p.publish_mode, p.replicas, p.track, p.image_id, p.held_build_id,
       i.name || ':' || i.tag as pinned, live.image_id as live_image_id,
       live.image_name || ':' || live.image_tag as runs, live.image as live_image, built.commit_sha, live.finished_at as since,
       newest.id as rollout_id, newest.kind as rollout_kind, newest.state as rollout_state, newest.progress, newest.error,
       newest.created_at as rollout_at, newest.image_name || ':' || newest.image_tag as rollout_image
  from unnest($1::bigint[]) with ordinality as wanted (id, place)
  join products p on p.id = wanted.id
  left join docker_images i on i.id = p.image_id
  left join rollouts live on live.id = p.live_rollout_id
  left join builds built on built.id = live.build_id
  left join lateral (select * from rollouts r where r.product_id = p.id order by r.id desc limit 1) newest on true
 order by wanted.place;

-- name: products_by_status
-- How many products there are in each state.
select status, count(*) as products from products group by status;

-- name: image_names
-- The names of images that products are pinned to.
select distinct i.name from docker_images i join products p on p.image_id = i.id order by i.name limit $1;

-- name: images_to_run
-- Images that a product can be pinned to: those that are built, newest first, and those that are on their way.
select id, name, tag, build_status, built_at, live_build_id is not null as built
  from image_overview
 where live_build_id is not null or build_status in ('pending', 'building')
 order by live_build_id is not null desc, id desc limit $1;

-- name: history
-- A page of a product's rollouts, newest first, behind one id: each with who asked for it, and with the delivery that brought
-- its build. What a person asks for is audited in the same transaction, and so at the same time.
select r.id, r.kind, r.reason, r.state, r.image, r.image_id, r.image_name || ':' || r.image_tag as image_name, r.build_id,
       b.commit_sha, r.replicas, r.port, r.progress, r.error, r.task_errors, r.created_at, r.started_at, r.finished_at,
       extract(epoch from r.finished_at - r.started_at)::float8 as seconds,
       extract(epoch from coalesce(r.started_at, r.finished_at) - r.created_at)::float8 as waited,
       b.removed_at is not null as removed, d.id as delivery_id, asked.actor, asked.via, pushed.actor as pushed_by
  from rollouts r
  left join builds b on b.id = r.build_id
  left join deliveries d on d.id = b.delivery_id
  left join lateral (select a.actor, a.via from audit_log a
                      where a.subject = 'product' and a.subject_id = r.product_id and a.at = r.created_at
                      order by a.id limit 1) asked on true
  left join lateral (select a.actor from audit_log a
                      where a.subject = 'delivery' and a.subject_id = b.delivery_id order by a.id limit 1) pushed on true
 where r.product_id = $1 and ($2::bigint is null or r.id < $2)
 order by r.id desc limit $3;
