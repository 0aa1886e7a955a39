-- name: pulse
-- A mark for each topic that pages show: it differs when something of it was added, or something under way moved on.
select (select concat_ws(' ', max(id), sum(replays) filter (where replays > 0)) from
          (select id, replays from deliveries order by id desc limit 100) newest) as deliveries,
       (select concat_ws(' ', (select max(id) from builds),
          (select string_agg(concat_ws(':', id, state, attempt, cancel_requested_at), ' ' order by id) from
            ((select * from builds where state = 'pending' order by id limit 200)
              union all (select * from builds where state = 'building' limit 200)) active))) as builds,
       (select concat_ws(' ', (select max(id) from rollouts),
          (select string_agg(concat_ws(':', id, state, progress), ' ' order by id) from
            (select * from rollouts where state in ('pending', 'applying', 'converging') order by id limit 300) active)))
         as rollouts,
       (select concat_ws(' ', max(updated_at), md5(string_agg(concat_ws(':', id, status, live_rollout_id), ' ' order by id)))
          from products) as products,
       (select concat_ws(' ', (select max(id) from notices), (select count(*) from notices where state = 'pending')))
         as notices,
       (select max(id) from audit_log) as activity;
