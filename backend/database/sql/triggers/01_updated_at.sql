-- updated_at -----------------------------------------------------------------------------------------------------

create or replace function public.touch_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := clock_timestamp();
    return new;
end
$$;

-- The same for tables whose rows say whose they are: that column is reckoned after this, and no condition of a trigger may
-- look at it.
create or replace function public.touch_tenants_row()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.tenant := old.tenant; -- for the comparison alone
    if old is distinct from new then
        new.updated_at := clock_timestamp();
    end if;
    return new;
end
$$;

create or replace trigger touch_updated_at before update on public.operators
    for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create or replace trigger touch_updated_at before update on public.capacity_bookings
    for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create or replace trigger touch_updated_at before update on public.flexibility_events
    for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create or replace trigger touch_updated_at before update on public.negotiations
    for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();

do $touch$
declare
    touched text;
begin
    foreach touched in array array['data_centres', 'compute_workloads', 'agents', 'storage_assets'] loop
        execute format(
            'create or replace trigger touch_updated_at before update on public.%I '
            'for each row execute function public.touch_tenants_row()', touched);
    end loop;
end
$touch$;


