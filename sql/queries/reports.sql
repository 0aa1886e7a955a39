-- name: set_reporting
-- From now on reports are queued, or not.
insert into reporting (enabled) values ($1) on conflict (only_row) do update set enabled = excluded.enabled;

-- name: retry_refused
-- Whatever was refused may be tried again: the credentials may be others.
update report_refusals set retry_at = now() where retry_at > now();

-- name: lock_claims
-- One claim at a time, so that each sees whom the others let through.
select pg_advisory_xact_lock($1);

-- name: claim_report
-- Take a report that is behind, if its commit is known, GitHub wants it, and nobody reports about the same subject now.
update reports set lease_token = $1, lease_until = now() + make_interval(secs => $2), worker = $3, attempt = attempt + 1
 where id = (select r.id from reports r join report_overview v on v.id = r.id
              where r.finished_at is null and r.run_after <= now() and (r.lease_until is null or r.lease_until < now())
                and v.commit_sha is not null
                and (r.told is distinct from v.state or r.told_sha is distinct from v.commit_sha)
                and not exists (select from report_refusals f
                                 where f.repo = lower(v.github_repo) and f.kind = v.kind and f.retry_at > now())
                and not exists (select from report_overview w
                                 where w.finished_at is null and w.lease_until > now() and w.id <> r.id
                                   and w.kind = v.kind and w.subject = v.subject)
              order by r.run_after, r.id for update of r skip locked limit 1)
returning id;

-- name: read_report
-- A report with what is true now; `overtaken`: a newer build of the commit, or a newer rollout that is done, says more.
select v.*,
       case v.kind
         when 'status' then exists (select from builds n join docker_images j on j.id = n.image_id
                                                join reports m on m.build_id = n.id
                                     where n.commit_sha = v.commit_sha and n.id > v.build_id and j.name = v.image_name
                                       and lower(j.github_repo) = lower(v.github_repo))
         else exists (select from rollouts n
                       where n.product_id = v.product_id and n.id > v.rollout_id and n.state = 'done') end as overtaken
  from report_overview v where v.id = $1;

-- name: renew_report
-- Keep the lease; no row: it was lost.
update reports set lease_until = now() + make_interval(secs => $3) where id = $1 and lease_token = $2 returning id;

-- name: note_deployment
-- Remember which deployment on GitHub is this rollout's.
update reports set deployment_id = $3 where id = $1 and lease_token = $2 returning id;

-- name: settle_report
-- GitHub knows this state of this commit now; the report goes on unless that was the last word.
update reports set told = $3, told_sha = $4, finished_at = case when $5 then now() end, attempt = 0, answer = null,
                   run_after = now(), lease_token = null, lease_until = null
 where id = $1 and lease_token = $2 returning id;

-- name: close_report
-- Nothing more is said, for this reason.
update reports set finished_at = now(), answer = $3, lease_token = null, lease_until = null
 where id = $1 and lease_token = $2 returning id;

-- name: delay_report
-- Not this time: try again after some seconds.
update reports set run_after = now() + make_interval(secs => $3), answer = $4, lease_token = null, lease_until = null
 where id = $1 and lease_token = $2 returning id;

-- name: hand_back_report
-- The worker stops: another goes on.
update reports set lease_token = null, lease_until = null where id = $1 and lease_token = $2 returning id;

-- name: close_stale_reports
-- What ended so long ago is news no more; and of what ended without a known commit, or is gone, nothing can be said.
update reports r set finished_at = now(), answer = coalesce(r.answer, 'there was nobody to tell in time')
 where r.finished_at is null and (r.lease_until is null or r.lease_until < now())
   and not exists (select from report_overview v
                    where v.id = r.id and v.finished_at is null
                      and (v.over_at is null
                           or (v.commit_sha is not null and v.over_at > now() - make_interval(secs => $1))));

-- name: refuse_reports
-- Our credentials may not report this of that repository: leave it alone for some seconds.
insert into report_refusals (repo, kind, reason, retry_at) values (lower($1), $2, $3, now() + make_interval(secs => $4))
on conflict (repo, kind) do update set reason = excluded.reason, refused_at = now(), retry_at = excluded.retry_at;

-- name: accept_reports
-- It went well: a refusal of before is over.
delete from report_refusals where repo = lower($1) and kind = $2 returning repo;

-- name: refusals
-- Where our credentials may not report, and why.
select repo, kind, reason, refused_at, retry_at from report_refusals order by repo, kind limit $1;
