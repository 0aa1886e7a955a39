-- name: shipments_to_tell
-- Builds of which there is something to tell: every rollout that they set going is final, or nothing was told for so many
-- seconds.
select s.build_id, s.facts, s.progress_told_at is not null as progress_told
  from shipments s
 where (s.progress_told_at is null and s.created_at < now() - make_interval(secs => $1))
    or not exists (select from rollouts r
                    where r.build_id = s.build_id and r.reason in ('image_built', 'pin_moved')
                      and r.state in ('pending', 'applying', 'converging'))
 order by s.build_id limit $2 for update of s skip locked;

-- name: rollouts_of_shipments
-- The rollouts that these builds set going; of those that failed, why.
select r.build_id, r.id as rollout_id, r.product_id, p.name as product, p.slug, r.state::text, r.error,
       case when r.state in ('failed', 'rolled_back') then r.task_errors else '[]' end as task_errors
  from rollouts r join products p on p.id = r.product_id
 where r.build_id = any($1::bigint[]) and r.reason in ('image_built', 'pin_moved')
 order by r.id;

-- name: note_progress_told
-- It was told how far these are: the next thing to tell is how they ended.
update shipments set progress_told_at = now() where build_id = any($1::bigint[]);

-- name: end_shipments
-- All was told about these builds.
delete from shipments where build_id = any($1::bigint[]);
