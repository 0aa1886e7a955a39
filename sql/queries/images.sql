-- name: images_older
-- The ids of a page of images, newest first, behind one id; name, tag and repository contain these texts in whatever case.
select i.id from docker_images i join builds latest on latest.id = i.latest_build_id
 where i.deleting_at is null
   and ($1::text is null or strpos(lower(i.name), lower($1)) > 0) and ($2::text is null or strpos(lower(i.tag), lower($2)) > 0)
   and ($3::text is null or strpos(lower(i.github_repo), lower($3)) > 0)
   and ($4::build_state is null or latest.state = $4) and ($5::bigint is null or i.id < $5)
 order by i.id desc limit $6;

-- name: images_newer
-- The same for the page before one id, nearest first.
select i.id from docker_images i join builds latest on latest.id = i.latest_build_id
 where i.deleting_at is null
   and ($1::text is null or strpos(lower(i.name), lower($1)) > 0) and ($2::text is null or strpos(lower(i.tag), lower($2)) > 0)
   and ($3::text is null or strpos(lower(i.github_repo), lower($3)) > 0)
   and ($4::build_state is null or latest.state = $4) and i.id > $5
 order by i.id limit $6;

-- name: images_listed
-- These images as the list shows them, newest first: how the latest build goes, and how many products are pinned to each
-- and run it.
select o.id, o.name, o.tag, o.github_repo, o.commit_sha, o.build_status, o.build_error, o.size_bytes, o.built_at, o.removed_at,
       latest.created_at as queued_at, latest.started_at, latest.finished_at,
       extract(epoch from latest.finished_at - latest.started_at)::float8 as seconds,
       (select count(*) from products p where p.image_id = o.id and p.status <> 'deleting') as pinned,
       coalesce(runs.products, 0) as running
  from image_overview o
  join builds latest on latest.id = o.latest_build_id
  left join (select r.image_id, count(*) as products from products p join rollouts r on r.id = p.live_rollout_id
              where r.image_id = any($1::bigint[]) and p.status in ('running', 'deploying') group by r.image_id) runs
    on runs.image_id = o.id
 where o.id = any($1::bigint[]) order by o.id desc;

-- name: builds_listed
-- A page of an image's builds, newest first, behind one id, each with the delivery and with who asked for it.
select b.id, b.state, b.source, b.commit_sha, b.attempt, b.digest, b.exact_ref, b.size_bytes, b.error, b.created_at, b.started_at,
       b.finished_at, b.removed_at, b.recipe, b.state = 'building' and b.cancel_requested_at is not null as cancelling,
       extract(epoch from b.finished_at - b.started_at)::float8 as seconds,
       extract(epoch from b.started_at - b.created_at)::float8 as waited,
       d.id as delivery_id, d.guid as delivery_guid, asked.actor, asked.via
  from builds b
  left join deliveries d on d.id = b.delivery_id
  left join lateral (
    select a.actor, a.via from audit_log a
     where ((a.subject = 'delivery' and a.subject_id = b.delivery_id) or (a.subject = 'image' and a.subject_id = b.image_id))
       and case a.action when 'create_image' then b.source = 'api' and a.at = b.created_at
                         when 'rebuild_image' then a.details ->> 'build' = b.id::text
                         else a.subject = 'delivery' and a.details -> 'builds' @> to_jsonb(b.id) end
     order by a.id limit 1) asked on true
 where b.image_id = $1 and ($2::bigint is null or b.id < $2)
 order by b.id desc limit $3;

-- name: products_of_image
-- The products that are pinned to an image or run what one of its builds made, by name, and how many there are.
select p.id, p.slug, p.name, p.status, p.track, p.image_id is not distinct from $1 as pinned, p.held_build_id,
       case when live.image_id = $1 then live.build_id end as build_id,
       case when live.image_id = $1 then live.finished_at end as since,
       live.image_name || ':' || live.image_tag as runs, count(*) over () as of_all
  from products p left join rollouts live on live.id = p.live_rollout_id
 where p.image_id = $1 or live.image_id = $1
 order by p.name, p.id limit $2;

-- name: registered_repos
-- The GitHub repositories that are registered, by name.
select min(repo) as repo from repositories group by lower(repo) order by lower(repo) limit $1;

-- name: images_of_tags
-- The images of these names and tags, and the commits that they were built from last.
select id, name, tag, build_status, commit_sha from image_overview where name = any($1::text[]) and tag = any($2::text[]);

-- name: is_registered
-- A registered repository's name as it is spelled here; no row: it is not registered.
select repo from repositories where lower(repo) = lower($1) order by id limit 1;
