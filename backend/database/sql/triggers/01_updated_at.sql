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

do $touch$
declare
    touched text;
begin
    foreach touched in array array['operators', 'data_centres', 'compute_workloads', 'agents', 'storage_assets'] loop
        execute format(
            'create or replace trigger touch_updated_at before update on public.%I '
            'for each row when (old.* is distinct from new.*) execute function public.touch_updated_at()', touched);
    end loop;
end
$touch$;


