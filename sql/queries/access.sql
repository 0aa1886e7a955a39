-- name: insert_token
-- Give out a token; a name that a valid token has is a unique violation.
insert into tokens (name, role, hash, expires_at) values ($1, $2, $3, $4) returning *;

-- name: list_tokens
-- Every token there ever was, newest first.
select * from tokens order by id desc;

-- name: revoke_token
-- Take a token back, at once and for good; no row: it was taken back before, or never was.
update tokens set revoked_at = now() where id = $1 and revoked_at is null returning *;

-- name: token_of_hash
-- The token that is presented, if it may still be used.
select id, name, role, last_used_at is null or last_used_at < now() - interval '1 minute' as unseen
  from tokens where hash = $1 and revoked_at is null and (expires_at is null or expires_at > now());

-- name: touch_token
-- Remember that a token was used.
update tokens set last_used_at = now() where id = $1;
