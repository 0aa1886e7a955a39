-- name: insert_product
-- Make a product; a taken slug or port is a unique violation.
insert into products (name, slug, port, container_port, publish_mode, replicas, image_id, track, env_sealed, healthcheck, status)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
returning id;

-- name: read_product
-- One product with the name and tag of its image.
select p.*, i.name as pinned_name, i.tag as pinned_tag, i.live_build_id
  from products p left join docker_images i on i.id = p.image_id where p.id = $1;

-- name: lock_product
-- Lock a product for a change.
select id from products where id = $1 for no key update;

-- name: list_products
-- Every product, newest first, with the name and tag of its image.
select p.*, i.name as pinned_name, i.tag as pinned_tag, i.live_build_id
  from products p left join docker_images i on i.id = p.image_id order by p.id desc;

-- name: update_product
-- Write the fields that people may change.
update products set name = $2, port = $3, container_port = $4, publish_mode = $5, replicas = $6, image_id = $7, track = $8,
                    env_sealed = $9, healthcheck = $10, updated_at = now()
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
 where p.id = any($1::bigint[]) and (p.image_id = $2 or p.track is not null)
 order by p.id;

-- name: move_pins
-- Pin these products to another image.
update products set image_id = $2, updated_at = now() where id = any($1::bigint[]);
