-- Compatible from: 1

-- Bookings and runs are objects that their owners may read, by an identity that does not tell how many others there are.
alter table public.capacity_bookings add column booking_key uuid not null default gen_random_uuid();
create unique index capacity_bookings_key on public.capacity_bookings (booking_key);
alter table public.run_accounts add column booking_key uuid;
update public.run_accounts a set booking_key = b.booking_key
from public.capacity_bookings b where b.booking_id = a.booking_id;
alter table public.run_accounts alter column booking_key set not null;
alter table public.run_accounts add foreign key (booking_key) references public.capacity_bookings (booking_key) on delete cascade;
create unique index run_accounts_key on public.run_accounts (booking_key);
-- What found a workload's bookings now finds them for whoever names only the job as well.
drop index if exists public.capacity_bookings_workload;
drop index if exists public.run_accounts_workload;
