-- name: set_channel
-- Make sure of a channel that is configured by settings, switched on or off.
insert into channels (name, kind, enabled) values ($1, $2, $3)
on conflict (name) do update set kind = excluded.kind, enabled = excluded.enabled;

-- name: enqueue_notice
-- Tell every channel that is on about one event, once.
insert into notices (channel_id, event, subject_id, facts)
select id, $1, $2, $3 from channels where enabled
on conflict (channel_id, event, subject_id) do nothing
returning id;

-- name: claim_notice
-- Take the oldest notice that waits for a channel of this kind, if the channel is on, under a new lease.
update notices set lease_token = $1, lease_until = now() + make_interval(secs => $2), worker = $3, attempt = attempt + 1
 where id = (select n.id from notices n join channels c on c.id = n.channel_id
              where n.state = 'pending' and n.run_after <= now() and (n.lease_until is null or n.lease_until < now())
                and c.enabled and c.kind = $4
              order by n.run_after, n.id for update of n skip locked limit 1)
returning id, event, subject_id, facts, attempt, created_at, now() as claimed_at;

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
