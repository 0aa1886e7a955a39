-- name: insert_audit
-- Write down one change, in the transaction that makes it.
insert into audit_log (actor, token_id, via, address, action, subject, subject_id, subject_name, details)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: list_audit
-- A page of the audit log, newest first, by who, what and to what.
select * from audit_log
 where ($1::text is null or actor = $1) and ($2::text is null or action = $2)
   and ($3::text is null or subject = $3) and ($4::bigint is null or subject_id = $4)
   and ($5::bigint is null or id < $5)
 order by id desc limit $6;
