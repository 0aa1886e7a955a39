-- name: insert_repository
-- Register one way in which a repository's tags become an image; no row when the image name is taken.
with made as (
  insert into repositories (repo, image_name, tag_pattern, dockerfile, context, target, build_args, on_moved_tag, backfill)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
  on conflict (image_name) do nothing
  returning *
)
select r.*, l.looked_at as last_looked_at, l.error as look_error from made r left join looks l on l.repo = lower(r.repo);

-- name: repositories_of
-- Every registration of one GitHub repository, oldest first, kept from being deleted until what follows from them is
-- queued.
select r.*, l.looked_at as last_looked_at, l.error as look_error
  from repositories r left join looks l on l.repo = lower(r.repo)
 where lower(r.repo) = lower($1) order by r.id for key share of r;

-- name: hold_repository_named
-- The registration that makes images of a name, locked before any image: deleting it goes the same way.
select r.*, l.looked_at as last_looked_at, l.error as look_error
  from repositories r left join looks l on l.repo = lower(r.repo)
 where r.image_name = $1 for key share of r;

-- name: list_repositories
-- A page of registrations, newest first, of one GitHub repository or of all.
select r.*, l.looked_at as last_looked_at, l.error as look_error
  from repositories r left join looks l on l.repo = lower(r.repo)
 where ($1::text is null or lower(r.repo) = lower($1)) and ($2::bigint is null or r.id < $2)
 order by r.id desc limit $3;

-- name: read_repository
-- One registration.
select r.*, l.looked_at as last_looked_at, l.error as look_error
  from repositories r left join looks l on l.repo = lower(r.repo)
 where r.id = $1;

-- name: lock_repository
-- One registration, locked, so that changes of it come one after the other.
select r.*, l.looked_at as last_looked_at, l.error as look_error
  from repositories r left join looks l on l.repo = lower(r.repo)
 where r.id = $1 for no key update of r;

-- name: update_repository
-- Change how a repository's tags become an image; an image name that is taken is a unique violation.
with changed as (
  update repositories set image_name = $2, tag_pattern = $3, dockerfile = $4, context = $5, target = $6, build_args = $7,
                          on_moved_tag = $8, backfill = $9, updated_at = now()
   where id = $1 returning *
)
select r.*, l.looked_at as last_looked_at, l.error as look_error from changed r left join looks l on l.repo = lower(r.repo);

-- name: delete_repository
-- Forget a registration; builds and images that came of it stay.
with gone as (delete from repositories where id = $1 returning *)
select r.*, null::timestamptz as last_looked_at, null::text as look_error from gone r;

-- name: ask_look
-- Somebody waits for a look at the repository's tags, all of them: it comes soon, and goes before those that are due.
insert into looks (repo) values (lower($1))
on conflict (repo) do update set asks = looks.asks + 1, run_after = least(looks.run_after, now()), pages = '[]';

-- name: forget_look
-- Nobody looks at a repository without registrations any more, and what was seen there is forgotten.
delete from looks l where l.repo = lower($1) and not exists (select from repositories r where lower(r.repo) = l.repo);

-- name: note_seen_tag
-- The tag was seen at this commit, or at one that is not known, if the repository's tags are looked at.
insert into seen_tags (repo, tag, commit_sha) select repo, $2, $3 from looks where repo = lower($1)
on conflict (repo, tag) do update set commit_sha = excluded.commit_sha, listed_sha = null, seen_at = now();
