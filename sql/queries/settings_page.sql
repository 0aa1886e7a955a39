-- name: last_deliveries
-- The last delivery of each of these repositories, whose name has no case; no row for one that nothing has come from.
select asked.repo, d.id, d.state, d.received_at
  from unnest($1::text[]) as asked (repo),
       lateral (select id, state, received_at from deliveries
                 where lower(deliveries.repo) = lower(asked.repo) order by id desc limit 1) d;

-- name: expired_tokens
-- Those of these tokens that nobody took back and that are over.
select id from tokens where id = any($1::bigint[]) and revoked_at is null and expires_at <= now();
