-- name: insert_repository
-- Register one way in which a repository's tags become an image; no row when the image name is taken.
insert into repositories (repo, image_name, tag_pattern, dockerfile, context, target, build_args, on_moved_tag)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (image_name) do nothing
returning *;

-- name: repositories_of
-- Every registration of one GitHub repository, oldest first.
select * from repositories where lower(repo) = lower($1) order by id;

-- name: list_repositories
-- Every registration, newest first.
select * from repositories order by id desc;

-- name: read_repository
-- One registration.
select * from repositories where id = $1;
