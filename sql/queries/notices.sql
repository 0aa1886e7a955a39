-- name: choices
-- What every channel that is on wants to hear of; one that is just being deleted is left out.
select id, events, images, products from channels where enabled order by id for key share;

-- name: slugs_pinned_to
-- The products that are pinned to an image of this name.
select p.slug from products p join docker_images i on i.id = p.image_id where i.name = $1 order by p.slug;

-- name: begin_shipment
-- What became of this build's rollouts will be told in one message.
insert into shipments (build_id, facts) values ($1, $2) on conflict (build_id) do nothing;

-- name: write_notices
-- Tell channels about one build or rollout; what one of them was told before is not told again.
insert into notices (channel_id, event, subject, subject_id, facts)
select t.channel_id, t.event, $1, $2, t.facts
  from jsonb_to_recordset($3) t (channel_id bigint, event notice_event, facts jsonb)
on conflict (channel_id, event, subject, subject_id) do nothing
returning id;

-- name: next_notice
-- The notice that waits longest for a channel that we can reach and that is not kept busy by two messages: a receiver that
-- hangs must not hold every sender. One of those who ask at the same time gets a channel, so that a message stays whole.
select n.id, n.message_id, c.id as channel_id, c.name as channel, c.kind, c.url_sealed, c.secret_sealed,
       case when n.attempt = 0 then extract(epoch from now() - n.run_after)::float8 end as waited_s
  from notices n join channels c on c.id = n.channel_id
 where n.state = 'pending' and n.run_after <= now() and (n.lease_until is null or n.lease_until < now())
   and c.enabled and c.kind = any($1::text[]) and (c.url_sealed is not null or $2)
   and (c.paused_until is null or c.paused_until <= now())
   and n.channel_id <> all (array(select o.channel_id from notices o
                                   where o.state = 'pending' and o.lease_until >= now()
                                   group by o.channel_id having count(distinct o.lease_token) >= 2))
 order by n.run_after, n.id limit 1 for update of n skip locked for no key update of c skip locked;

-- name: notices_beside
-- What else waits for a channel: the rest of the same message ($3), or what belongs to none yet.
select id from notices
 where channel_id = $1 and id <> $2 and message_id is not distinct from $3::uuid
   and state = 'pending' and run_after <= now() and (lease_until is null or lease_until < now())
 order by id limit $4 for update skip locked;

-- name: lease_notices
-- Take these notices under a new lease, as one message.
update notices set lease_token = $2, lease_until = now() + make_interval(secs => $3), worker = $4, message_id = $5,
                   attempt = attempt + 1
 where id = any($1::bigint[])
returning id, event, subject, subject_id, facts, attempt, created_at;

-- name: renew_notices
-- Keep the lease of a message; no row: it was lost.
update notices set lease_until = now() + make_interval(secs => $3) where id = any($1::bigint[]) and lease_token = $2 returning id;

-- name: settle_notices
-- pending -> sent | failed, with the receiver's answer.
update notices set state = $3, status = $4, answer = $5, finished_at = now(), lease_token = null, lease_until = null
 where id = any($1::bigint[]) and lease_token = $2 returning id;

-- name: retry_notices
-- The receiver did not take it this time: try again after some seconds.
update notices set run_after = now() + make_interval(secs => $3), status = $4, answer = $5, lease_token = null, lease_until = null
 where id = any($1::bigint[]) and lease_token = $2 returning id;

-- name: hand_back_notices
-- The worker stops before it knows: the next one sends.
update notices set lease_token = null, lease_until = null, attempt = attempt - 1
 where id = any($1::bigint[]) and lease_token = $2 returning id;

-- name: fail_stranded_notices
-- pending -> failed where nobody is sending and nobody shall: the channel is off, or the notice is news no more.
update notices n set state = 'failed', finished_at = now(), lease_token = null, lease_until = null,
                     answer = case when c.enabled then $1 else $2 end
  from channels c
 where c.id = n.channel_id
   and n.id in (select w.id from notices w join channels wc on wc.id = w.channel_id
                 where w.state = 'pending' and (w.lease_until is null or w.lease_until < now())
                   and (not wc.enabled or w.created_at < now() - $3::interval)
                 order by w.id for update of w skip locked)
returning n.event;

-- name: list_notices
-- A page of what was sent or will be, newest first, by state, event and channel.
select n.*, c.name as channel from notices n join channels c on c.id = n.channel_id
 where ($1::notice_state is null or n.state = $1) and ($2::notice_event is null or n.event = $2)
   and ($3::bigint is null or n.channel_id = $3) and ($4::bigint is null or n.id < $4)
 order by n.id desc limit $5;

-- name: read_notice
-- One notice.
select n.*, c.name as channel from notices n join channels c on c.id = n.channel_id where n.id = $1;
