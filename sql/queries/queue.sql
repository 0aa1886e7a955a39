-- name: wake
-- Tell whoever waits for one of these topics that there may be something to do; polling finds it anyway.
select pg_notify('tagship', topic) from unnest($1::text[]) as topic;
