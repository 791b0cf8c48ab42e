-- Compatible from: 1

-- The transactions that wrote what decisions are made from. A program that remembers a grid is told by them, without the
-- grid being read, whether it still is the newest.
create table public.grid_changes (
    transaction xid8 primary key default pg_current_xact_id(),
    changed_at timestamptz not null default clock_timestamp()
);
