-- name: insert_repository
-- Register one way in which a repository's tags become an image; no row when the image name is taken.
insert into repositories (repo, image_name, tag_pattern, dockerfile, context, target, build_args, on_moved_tag)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (image_name) do nothing
returning *;

-- name: repositories_of
-- Every registration of one GitHub repository, oldest first, kept from being deleted until what follows from them is
-- queued.
select * from repositories where lower(repo) = lower($1) order by id for key share;

-- name: hold_repository_named
-- The registration that makes images of a name, locked before any image: deleting it goes the same way.
select * from repositories where image_name = $1 for key share;

-- name: list_repositories
-- A page of registrations, newest first, of one GitHub repository or of all.
select * from repositories
 where ($1::text is null or lower(repo) = lower($1)) and ($2::bigint is null or id < $2)
 order by id desc limit $3;

-- name: read_repository
-- One registration.
select * from repositories where id = $1;

-- name: lock_repository
-- One registration, locked, so that changes of it come one after the other.
select * from repositories where id = $1 for no key update;

-- name: update_repository
-- Change how a repository's tags become an image; an image name that is taken is a unique violation.
update repositories set image_name = $2, tag_pattern = $3, dockerfile = $4, context = $5, target = $6, build_args = $7,
                        on_moved_tag = $8, updated_at = now()
 where id = $1 returning *;

-- name: delete_repository
-- Forget a registration; builds and images that came of it stay.
delete from repositories where id = $1 returning *;
