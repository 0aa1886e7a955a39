-- name: insert_delivery
-- Store what GitHub sent; no row when this delivery is already stored.
insert into deliveries (guid, event, repo, ref, body, content_type)
values ($1, $2, $3, $4, $5, $6)
on conflict (guid) do nothing
returning id;

-- name: settle_delivery
-- Say once what became of a delivery.
update deliveries set state = $2, reason = $3 where id = $1 and state = 'received' returning id;
