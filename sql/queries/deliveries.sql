-- name: insert_delivery
-- Store what GitHub sent; no row when this delivery is already stored.
insert into deliveries (guid, event, repo, ref, body, content_type)
values ($1, $2, $3, $4, $5, $6)
on conflict (guid) do nothing
returning id;

-- name: settle_delivery
-- Say once what became of a delivery.
update deliveries set state = $2, reason = $3 where id = $1 and state = 'received' returning id;

-- name: list_deliveries
-- A page of the inbox, newest first, without bodies; by state, repository and event.
select d.id, d.guid, d.event, d.repo, d.ref, d.state, d.reason, d.content_type, octet_length(d.body) as size_bytes,
       d.received_at, d.replays, d.replayed_at,
       array(select b.id from builds b where b.delivery_id = d.id order by b.id) as builds
  from deliveries d
 where ($1::delivery_state is null or d.state = $1) and ($2::text is null or lower(d.repo) = lower($2))
   and ($3::text is null or d.event = $3) and ($4::bigint is null or d.id < $4)
 order by d.id desc limit $5;

-- name: read_delivery
-- One delivery, without its body.
select d.id, d.guid, d.event, d.repo, d.ref, d.state, d.reason, d.content_type, octet_length(d.body) as size_bytes,
       d.received_at, d.replays, d.replayed_at,
       array(select b.id from builds b where b.delivery_id = d.id order by b.id) as builds
  from deliveries d where d.id = $1;

-- name: read_part_of_body
-- Some bytes of a body, the first being number 1.
select substring(body from $2 for $3) from deliveries where id = $1;

-- name: lock_delivery
-- Lock one delivery, so that one transaction at a time decides it anew.
select id from deliveries where id = $1 for no key update;

-- name: build_of_delivery
-- The newest build of an image that a delivery asked for and that has, or may still get, an image.
select id from builds where delivery_id = $1 and image_id = $2 and state in ('pending', 'building', 'success')
 order by id desc limit 1;

-- name: settle_replay
-- any -> accepted when builds were queued, else -> ignored; what has been accepted before stays so, and nothing is failed.
update deliveries set state = case when state = 'accepted' then state else $2 end,
                      reason = case when state = 'accepted' then null else $3 end,
                      repo = $4, ref = $5, replays = replays + 1, replayed_at = now()
 where id = $1;
