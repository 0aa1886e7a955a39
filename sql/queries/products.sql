-- name: insert_product
-- Make a product; a taken slug or port is a unique violation.
insert into products (name, slug, port, container_port, publish_mode, replicas, image_id, track, env_sealed, healthcheck, status)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
returning id;

-- name: read_product
-- One product with the name and tag of its image, and what its service was last brought to.
select * from product_overview where id = $1;

-- name: lock_product
-- Lock a product for a change.
select id from products where id = $1 for no key update;

-- name: list_products
-- A page of products, newest first, behind one id; with status, image and slug as filters.
select * from product_overview
 where ($1::product_status is null or status = $1) and ($2::bigint is null or image_id = $2) and ($3::text is null or slug = $3)
   and ($4::bigint is null or id < $4)
 order by id desc limit $5;

-- name: holder_of_slug
-- The product that has a slug.
select id from products where slug = $1;

-- name: holder_of_port
-- The other product that shall have a port, or whose service was last brought to it.
select p.slug from products p left join rollouts live on live.id = p.live_rollout_id
 where (p.port = $1 or live.port = $1) and p.id is distinct from $2 limit 1;

-- name: delete_unstarted_product
-- A product that never had a rollout has no service; no row: it had one.
delete from products p where p.id = $1 and not exists (select 1 from rollouts r where r.product_id = p.id) returning id;

-- name: update_product
-- Write the fields that people may change.
update products set name = $2, port = $3, container_port = $4, publish_mode = $5, replicas = $6, image_id = $7, track = $8,
                    env_sealed = $9, healthcheck = $10, held_build_id = $11, updated_at = now()
 where id = $1 returning id;

-- name: images_named
-- The ids of all images of one name, whatever their tag.
select id from docker_images where name = $1;

-- name: lock_products_on
-- Lock the products that are pinned to any of these images, in the order of their ids.
select id from products where image_id = any($1::bigint[]) order by id for no key update;

-- name: followers
-- Those of some locked products that a new build of this image could move: pinned to it, or tracking its name.
select p.id, p.wanted, p.status, p.image_id, p.track, i.tag as pinned_tag
  from products p join docker_images i on i.id = p.image_id
 where p.id = any($1::bigint[]) and p.status <> 'deleting' and (p.image_id = $2 or p.track is not null)
 order by p.id;

-- name: products_of_name
-- Every product that is pinned to an image of this name, by its slug.
select p.id, p.slug, p.name, p.wanted, p.status, p.image_id, p.track, i.tag as pinned_tag
  from products p join docker_images i on i.id = p.image_id
 where i.name = $1 and p.status <> 'deleting' order by p.slug;

-- name: name_is_known
-- Whether there is an image of this name, or a repository that makes it.
select exists (select 1 from docker_images where name = $1) or exists (select 1 from repositories where image_name = $1);

-- name: image_id_of
-- The id of the image of that name and tag.
select id from docker_images where name = $1 and tag = $2;

-- name: release_builds
-- The image of these products has been built again: what a rollback held back is over.
update products set held_build_id = null where id = any($1::bigint[]) and held_build_id is not null;

-- name: move_pins
-- Pin these products to another image.
update products set image_id = $2, held_build_id = null, updated_at = now() where id = any($1::bigint[]);
