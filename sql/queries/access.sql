-- name: insert_token
-- Give out a token; no row when it would have expired already; a name that a valid token has is a unique violation.
insert into tokens (name, role, hash, expires_at)
select $1, $2, $3, $4 where $4::timestamptz is null or $4 > now()
returning *;

-- name: list_tokens
-- A page of all tokens that there ever were, newest first.
select * from tokens where $1::bigint is null or id < $1 order by id desc limit $2;

-- name: revoke_token
-- Take a token back, at once and for good; no row: it was taken back before, or never was.
update tokens set revoked_at = now() where id = $1 and revoked_at is null returning *;

-- name: token_exists
-- Whether there ever was a token of that id.
select exists (select 1 from tokens where id = $1);

-- name: token_of_hash
-- The token that is presented, if it may still be used.
select id, name, role, last_used_at is null or last_used_at < now() - interval '1 minute' as unseen
  from tokens where hash = $1 and revoked_at is null and (expires_at is null or expires_at > now());

-- name: touch_token
-- Remember that a token was used.
update tokens set last_used_at = now() where id = $1;

-- name: valid_hashes
-- What is stored of every token that may still be used.
select hash from tokens where revoked_at is null and (expires_at is null or expires_at > now());

-- name: token_is_valid
-- Whether a token may still be used.
select exists (select 1 from tokens where id = $1 and revoked_at is null and (expires_at is null or expires_at > now()));

-- name: insert_session
-- Begin a session of twelve hours, and forget those that are over.
with over as (delete from sessions where expires_at < now())
insert into sessions (hash, token_id, token_hash, expires_at) values ($1, $2, $3, now() + interval '12 hours');

-- name: session_of_hash
-- The session that a cookie names, if it lasts and its token may still be used; $2 is the hash of the settings' token.
select s.id, s.token_id, t.name, t.role, s.used_at < now() - interval '1 minute' as unseen
  from sessions s left join tokens t on t.id = s.token_id
 where s.hash = $1 and s.expires_at > now()
   and case when s.token_id is null then s.token_hash = $2
            else t.revoked_at is null and (t.expires_at is null or t.expires_at > now()) end;

-- name: touch_session
-- A session that is used lasts twelve hours more, but never longer than a week.
update sessions set used_at = now(), expires_at = least(now() + interval '12 hours', created_at + interval '7 days')
 where id = $1;

-- name: delete_session
-- End a session.
delete from sessions where hash = $1;
