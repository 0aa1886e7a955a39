-- name: entries_older
-- The ids of a page of the audit log, newest first, behind one id; by one actor, of one action, to one kind of thing or to
-- one thing. One of the parts is read, by the index that serves what is asked for: compared as rows, since the planner
-- would walk through all ids to find what equals a value that it does not know.
select id from (
  (select id from audit_log
    where $1::text is null and $2::text is null and $3::text is null and id < coalesce($5::bigint, 9223372036854775807)
    order by id desc limit $6)
  union all
  (select id from audit_log
    where $3::text is not null and $4::bigint is not null and ($1::text is null or actor = $1)
      and ($2::text is null or action = $2) and subject = $3
      and (subject_id, id) < ($4, coalesce($5::bigint, 9223372036854775807)) and subject_id >= $4
    order by subject_id desc, id desc limit $6)
  union all
  (select id from audit_log
    where ($3::text is null or $4::bigint is null) and $1::text is not null
      and ($2::text is null or action = $2) and ($3::text is null or subject = $3)
      and (actor, id) < ($1, coalesce($5::bigint, 9223372036854775807)) and actor >= $1
    order by actor desc, id desc limit $6)
  union all
  (select id from audit_log
    where ($3::text is null or $4::bigint is null) and $1::text is null and $2::text is not null
      and ($3::text is null or subject = $3)
      and (action, id) < ($2, coalesce($5::bigint, 9223372036854775807)) and action >= $2
    order by action desc, id desc limit $6)
  union all
  (select id from audit_log
    where $3::text is not null and $4::bigint is null and $1::text is null and $2::text is null
      and (subject, id) < ($3, coalesce($5::bigint, 9223372036854775807)) and subject >= $3
    order by subject desc, id desc limit $6)) found
 order by id desc;

-- name: entries_newer
-- The same for the page before one id, nearest first.
select id from (
  (select id from audit_log
    where $1::text is null and $2::text is null and $3::text is null and id > $5
    order by id limit $6)
  union all
  (select id from audit_log
    where $3::text is not null and $4::bigint is not null and ($1::text is null or actor = $1)
      and ($2::text is null or action = $2) and subject = $3
      and (subject_id, id) > ($4, $5) and subject_id <= $4
    order by subject_id, id limit $6)
  union all
  (select id from audit_log
    where ($3::text is null or $4::bigint is null) and $1::text is not null
      and ($2::text is null or action = $2) and ($3::text is null or subject = $3)
      and (actor, id) > ($1, $5) and actor <= $1
    order by actor, id limit $6)
  union all
  (select id from audit_log
    where ($3::text is null or $4::bigint is null) and $1::text is null and $2::text is not null
      and ($3::text is null or subject = $3)
      and (action, id) > ($2, $5) and action <= $2
    order by action, id limit $6)
  union all
  (select id from audit_log
    where $3::text is not null and $4::bigint is null and $1::text is null and $2::text is null
      and (subject, id) > ($3, $5) and subject <= $3
    order by subject, id limit $6)) found
 order by id;

-- name: entries_listed
-- These entries of the audit log, newest first.
select id, at, actor, via, address, action, subject, subject_id, subject_name, details
  from audit_log where id = any($1::bigint[]) order by id desc;

-- name: actors
-- Everybody who ever did something, by name: one step through the index for each.
with recursive known (actor) as (
  (select actor from audit_log order by actor limit 1)
  union all
  select (select a.actor from audit_log a where a.actor > k.actor order by a.actor limit 1) from known k where k.actor is not null
)
select actor from known where actor is not null limit $1;

-- name: still_there
-- Which of these images, products and deliveries are still there.
select 'image' as subject, id from docker_images where id = any($1::bigint[]) and deleting_at is null
union all
select 'product', id from products where id = any($2::bigint[])
union all
select 'delivery', id from deliveries where id = any($3::bigint[]);
