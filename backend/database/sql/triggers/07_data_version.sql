-- Whether anything has changed -----------------------------------------------------------------------------------------------

-- Tells what the statement sees from what one before it saw, without reading a table: the same text means that no
-- transaction that writes anything anywhere has ended in between, so whatever is read is the same, row for row. Not the other
-- way round. Null where a snapshot does not say all: on a standby. The server's start tells one server from another.
create or replace function public.data_version()
returns json
language sql
stable
set search_path = ''
as $$
    select case when not pg_catalog.pg_is_in_recovery() then to_json(
        extract(epoch from pg_catalog.pg_postmaster_start_time())::text || '/' || pg_catalog.pg_current_snapshot()::text) end
$$;

-- As present_grid, of which nothing is read where the data are those of p_known_data: {"data_version", "present": null}. They
-- are to be of the same half-hour.
create or replace function public.present_grid_unless(
    p_now timestamptz, p_known_grid text default null, p_known_data text default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    version constant text := public.data_version() #>> '{}';
begin
    return json_build_object('data_version', version, 'present', case
        when version is distinct from p_known_data or version is null then public.present_grid(p_now, p_known_grid) end);
end
$$;

