-- name: enqueue_notice
-- Tell every channel that is on and wants this kind of event about one event, once; one that is just being deleted is
-- left out.
insert into notices (channel_id, event, subject_id, facts)
select id, $1, $2, $3 from channels where enabled and (events is null or $1 = any (events)) for key share
on conflict (channel_id, event, subject_id) do nothing
returning id;

-- name: claim_notice
-- Take the notice that waits longest for a channel that we can reach and that is not kept busy by two others, under a
-- new lease: a receiver that hangs must not hold every sender.
update notices t set lease_token = $1, lease_until = now() + make_interval(secs => $2), worker = $3, attempt = attempt + 1
  from channels u
 where u.id = t.channel_id
   and t.id = (select n.id from notices n join channels c on c.id = n.channel_id
                where n.state = 'pending' and n.run_after <= now() and (n.lease_until is null or n.lease_until < now())
                  and c.enabled and c.kind = $4 and (c.url_sealed is not null or $5)
                  and (c.paused_until is null or c.paused_until <= now())
                  and n.channel_id <> all (array(select o.channel_id from notices o
                                                  where o.state = 'pending' and o.lease_until >= now()
                                                  group by o.channel_id having count(*) >= 2))
                order by n.run_after, n.id for update of n skip locked limit 1)
returning t.id, t.event, t.facts, t.attempt, u.id as channel_id, u.url_sealed;

-- name: renew_notice
-- Keep the lease; no row: it was lost.
update notices set lease_until = now() + make_interval(secs => $3) where id = $1 and lease_token = $2 returning id;

-- name: settle_notice
-- pending -> sent | failed, with the receiver's answer.
update notices set state = $3, answer = $4, finished_at = now(), lease_token = null, lease_until = null
 where id = $1 and lease_token = $2 returning id;

-- name: retry_notice
-- The receiver did not take it this time: try again after some seconds.
update notices set run_after = now() + make_interval(secs => $3), answer = $4, lease_token = null, lease_until = null
 where id = $1 and lease_token = $2 returning id;

-- name: hand_back_notice
-- The worker stops before it knows: the next one sends.
update notices set lease_token = null, lease_until = null, attempt = attempt - 1 where id = $1 and lease_token = $2 returning id;

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
returning n.id;

-- name: list_notices
-- A page of what was sent or will be, newest first, by state, event and channel.
select n.*, c.name as channel from notices n join channels c on c.id = n.channel_id
 where ($1::notice_state is null or n.state = $1) and ($2::notice_event is null or n.event = $2)
   and ($3::bigint is null or n.channel_id = $3) and ($4::bigint is null or n.id < $4)
 order by n.id desc limit $5;

-- name: read_notice
-- One notice.
select n.*, c.name as channel from notices n join channels c on c.id = n.channel_id where n.id = $1;
