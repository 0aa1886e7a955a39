-- name: standings
-- A page of products behind one id, in the order of their ids, or one of them, each with its newest rollout.
select p.id as product_id, p.slug, p.name, p.live_rollout_id as live_id,
       newest.id as newest_id, newest.kind as newest_kind, newest.state as newest_state
  from products p
  left join lateral (select r.id, r.kind, r.state from rollouts r where r.product_id = p.id order by r.id desc limit 1) newest
    on true
 where p.id > $1 and ($2::bigint[] is null or p.id = any($2::bigint[]))
 order by p.id limit $3;
