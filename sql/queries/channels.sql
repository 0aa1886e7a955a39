-- name: ensure_settings_channel
-- Make sure of the channel whose address is in the settings; whether it is on is for people to say.
insert into channels (name, kind) values ($1, $2) on conflict (name) do nothing;

-- name: insert_channel
-- Make a channel, still without its address: that is sealed for its id; no row when the name is taken.
insert into channels (name, kind) values ($1, $2) on conflict (name) do nothing returning id;

-- name: update_channel
-- Change a channel; a name that is taken is a unique violation.
update channels set name = $2, url_sealed = $3, events = $4, enabled = $5, updated_at = now() where id = $1 returning *;

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
