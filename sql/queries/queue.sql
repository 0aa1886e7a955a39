-- name: wake
-- Tell whoever waits for a topic that there may be something to do; polling finds it anyway.
select pg_notify('tagship', $1);
