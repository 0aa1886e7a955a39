-- What pages ask for: what ended in the last days, the deliveries of one state, and what was done to one kind of thing.

create index builds_by_end on builds (finished_at);
create index rollouts_by_end on rollouts (finished_at);
create index deliveries_by_state on deliveries (state, id);
create index audit_by_kind on audit_log (subject, id);
