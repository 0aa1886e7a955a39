-- What tells this Tagship's images and services from those of another on the same engine, and the chore that goes by it.

create table installation (
  only_row boolean primary key default true check (only_row),
  id       uuid not null default gen_random_uuid()
);
insert into installation default values;

insert into chores (id, name, run_after) values (3, 'orphans', now() + interval '1 hour');
