-- Channels that are made by API, deliveries that are decided anew, and the indexes that their pages are read by.

alter table channels
  add column url_sealed text,
  add column events notice_event[],
  add column updated_at timestamptz not null default now();

alter table deliveries
  add column replays int not null default 0,
  add column replayed_at timestamptz,
  add check ((replays = 0) = (replayed_at is null));

create index deliveries_by_repo on deliveries (lower(repo), id);
create index notices_by_channel on notices (channel_id, id);
create index audit_by_action on audit_log (action, id);
