-- name: brought_by_pin
-- What a pin would run: the build that is held, else the newest that the image has.
select i.id as image_id, i.name as image_name, i.tag as image_tag, i.github_repo, b.id as build_id, b.exact_ref as image,
       b.commit_sha, d.guid as delivery_guid
  from docker_images i
  left join builds b on b.id = coalesce($2, i.live_build_id)
  left join deliveries d on d.id = b.delivery_id
 where i.id = $1;

-- name: build_is_kept
-- Whether what a build made may still be run.
select removed_at is null from builds where id = $1;

-- name: installation
-- Which installation this is.
select id::text from installation;

-- name: under_way
-- The rollout of a product that is under way, which a new one would take over from.
select id from rollouts where product_id = $1 and state in ('pending', 'applying', 'converging');
