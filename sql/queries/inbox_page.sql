-- name: deliveries_older
-- The ids of a page of the inbox, newest first, behind one id; in one state, of one repository. One of the three parts
-- is read, by the index that serves what is asked for: compared as rows, since the planner would walk through all ids to
-- find what equals a value that it does not know.
select id from (
  (select id from deliveries
    where $1::delivery_state is null and $2::text is null and id < coalesce($3::bigint, 9223372036854775807)
    order by id desc limit $4)
  union all
  (select id from deliveries
    where $1::delivery_state is not null and $2::text is null
      and (state, id) < ($1, coalesce($3::bigint, 9223372036854775807)) and state >= $1
    order by state desc, id desc limit $4)
  union all
  (select id from deliveries
    where $2::text is not null and ($1::delivery_state is null or state = $1)
      and (lower(repo), id) < (lower($2), coalesce($3::bigint, 9223372036854775807)) and lower(repo) >= lower($2)
    order by lower(repo) desc, id desc limit $4)) found
 order by id desc;

-- name: deliveries_newer
-- The same for the page before one id, nearest first.
select id from (
  (select id from deliveries where $1::delivery_state is null and $2::text is null and id > $3 order by id limit $4)
  union all
  (select id from deliveries
    where $1::delivery_state is not null and $2::text is null and (state, id) > ($1, $3) and state <= $1
    order by state, id limit $4)
  union all
  (select id from deliveries
    where $2::text is not null and ($1::delivery_state is null or state = $1)
      and (lower(repo), id) > (lower($2), $3) and lower(repo) <= lower($2)
    order by lower(repo), id limit $4)) found
 order by id;

-- name: deliveries_listed
-- These deliveries as the list shows them, newest first, each with who pushed.
select d.id, d.guid, d.event, d.repo, d.ref, d.state, d.reason, d.received_at, d.replays,
       (select a.actor from audit_log a where a.subject = 'delivery' and a.subject_id = d.id order by a.id limit 1) as actor
  from deliveries d where d.id = any($1::bigint[]) order by d.id desc;

-- name: builds_of_deliveries
-- The builds that these deliveries led to, oldest first, each with its image; of each delivery the first ones.
select * from (
  select b.delivery_id, b.id, b.state, b.image_id, i.name, i.tag, b.created_at, b.error,
         row_number() over (partition by b.delivery_id order by b.id) as place,
         count(*) over (partition by b.delivery_id) as of_all
    from builds b join docker_images i on i.id = b.image_id where b.delivery_id = any($1::bigint[])) made
 where place <= $2 order by id;

-- name: rollouts_of_delivery
-- How the products fare that the builds of a delivery went to: how many last rollouts of each build are in which state.
select build_id, state::text as state, count(*) as products from (
  select distinct on (r.build_id, r.product_id) r.build_id, r.state
    from builds b join rollouts r on r.build_id = b.id
   where b.delivery_id = $1 and r.kind = 'deploy' order by r.build_id, r.product_id, r.id desc) last_ones
 group by build_id, state order by build_id, state;

-- name: acts_on_delivery
-- Who pushed or replayed a delivery, newest first.
select id, at, actor, via, action from audit_log where subject = 'delivery' and subject_id = $1 order by id desc limit $2;

-- name: body_beginning
-- The first bytes of a delivery's body.
select substring(body from 1 for $2) from deliveries where id = $1;

-- name: repos_known
-- The repositories that are registered, by name.
select min(repo) as repo from repositories group by lower(repo) order by lower(repo) limit $1;
