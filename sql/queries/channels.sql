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
update channels set name = $2, url_sealed = $3, events = $4, enabled = $5, updated_at = now(),
                    disabled_reason = case when not $5 then disabled_reason end
 where id = $1 returning *;

-- name: switch_channel_off
-- on -> off, because its address is gone for good; no row when it has meanwhile another address, or is off.
update channels set enabled = false, disabled_reason = $3, updated_at = now()
 where id = $1 and url_sealed is not distinct from $2 and enabled returning name;

-- name: pause_channel
-- The receiver asked for rest: nothing is sent there for some seconds, whichever notice it was that was refused.
update channels set paused_until = greatest(paused_until, now() + make_interval(secs => $2)) where id = $1;

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
