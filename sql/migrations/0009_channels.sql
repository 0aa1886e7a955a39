-- A channel says why it was switched off by itself, and rests as long as its receiver asks.

alter table channels
  add column disabled_reason text,
  add column paused_until timestamptz,
  add check (disabled_reason is null or not enabled);
