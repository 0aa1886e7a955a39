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
select id from products where id = $1 for update;

-- name: list_products
-- Every product, newest first, with the name and tag of its image.
select p.*, i.name as pinned_name, i.tag as pinned_tag, i.live_build_id
  from products p left join docker_images i on i.id = p.image_id order by p.id desc;

-- name: update_product
-- Write the fields that people may change.
update products set name = $2, port = $3, container_port = $4, publish_mode = $5, replicas = $6, image_id = $7, track = $8,
                    env_sealed = $9, healthcheck = $10, updated_at = now()
 where id = $1 returning id;

-- name: followers
-- Products that a new build of this image could move, locked: those pinned to it, and those that track its name.
select p.id, p.status, p.image_id, p.track, i.tag as pinned_tag
  from products p join docker_images i on i.id = p.image_id
 where p.image_id = $1 or (p.track is not null and i.name = $2)
 order by p.id for update of p;

-- name: move_pins
-- Pin these products to another image.
update products set image_id = $2, updated_at = now() where id = any($1::bigint[]);
