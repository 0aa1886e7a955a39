-- name: ensure_settings_channel
-- Make sure of the channel whose address is in the settings. Whether it is on is for people to say; but where it switched
-- itself off, the settings of a new process may name another address.
insert into channels (name, kind) values ($1, $2)
on conflict (name) do update set enabled = true, disabled_reason = null, updated_at = now()
 where channels.disabled_reason is not null;

-- name: insert_channel
-- Make a channel, still without its address: that is sealed for its id; no row when the name is taken.
insert into channels (name, kind) values ($1, $2) on conflict (name) do nothing returning id;

-- name: update_channel
-- Change a channel; a name that is taken is a unique violation.
update channels set name = $2, url_sealed = $3, events = $4, enabled = $5, images = $6, products = $7, secret_sealed = $8,
                    updated_at = now(), disabled_reason = case when not $5 then disabled_reason end
 where id = $1 returning *;

-- name: switch_channel_off
-- on -> off, because its address is gone for good; no row when it has meanwhile another address, or is off.
update channels set enabled = false, disabled_reason = $3, updated_at = now()
 where id = $1 and url_sealed is not distinct from $2 and enabled returning name;

-- name: pause_channel
-- The receiver asked for rest: nothing is sent there for some seconds, whichever notice it was that was refused.
update channels set paused_until = greatest(paused_until, now() + make_interval(secs => $2)) where id = $1;

-- name: count_message
-- A message was taken: a channel that has had so many ($2) within so many seconds ($3) rests until these are over, so that
-- what comes meanwhile is gathered. A count that is older begins anew.
update channels set burst_began_at = case when b.over then now() else burst_began_at end,
                    burst_messages = case when b.over then 1 else burst_messages + 1 end,
                    paused_until = case when not b.over and burst_messages + 1 >= $2
                                        then greatest(paused_until, burst_began_at + make_interval(secs => $3))
                                        else paused_until end
  from (select coalesce(burst_began_at < now() - make_interval(secs => $3), true) as over from channels where id = $1) b
 where id = $1;

-- name: list_channels
-- A page of channels, newest first.
select * from channels where $1::bigint is null or id < $1 order by id desc limit $2;

-- name: read_channel
-- One channel.
select * from channels where id = $1;

-- name: lock_channel
-- One channel, locked, so that changes of it come one after the other.
select * from channels where id = $1 for no key update;

-- name: delete_channel
-- Forget a channel and its notices; not the one of the settings.
delete from channels where id = $1 and url_sealed is not null returning *;
