-- Deleting a product, going back to a build that is not its image's newest, and rollouts that remember what they ran.

alter type product_status add value 'deleting';
alter type rollout_kind add value 'remove';
alter type rollout_reason add value 'delete';

alter table products add column held_build_id bigint references builds on delete set null;

alter table rollouts add column image_name text;
alter table rollouts add column image_tag text;
alter table rollouts add column exposed_port int;

update rollouts r set image_name = i.name, image_tag = i.tag from docker_images i where i.id = r.image_id;

drop view rollout_overview;
create view rollout_overview as
  select r.*, p.slug, p.name as product_name, p.live_rollout_id, b.commit_sha, d.guid as delivery_guid, i.github_repo
    from rollouts r
    join products p on p.id = r.product_id
    left join builds b on b.id = r.build_id
    left join deliveries d on d.id = b.delivery_id
    left join docker_images i on i.id = r.image_id;

-- A product with its pin, and with what its service was last brought to.
create view product_overview as
  select p.*, i.name as pinned_name, i.tag as pinned_tag, i.live_build_id,
         live.image as live_image, live.image_name as live_image_name, live.image_tag as live_image_tag,
         live.build_id as live_rollout_build_id, live.port as live_port,
         coalesce(live.container_port, live.exposed_port) as live_container_port,
         live.replicas as live_replicas, live.finished_at as live_since
    from products p
    left join docker_images i on i.id = p.image_id
    left join rollouts live on live.id = p.live_rollout_id;
