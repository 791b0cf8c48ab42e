-- What the log of events tells of data centres, whoever changes them --------------------------------------------------------------

-- A data centre that is another now: its status, its size, what it is good for. Not its load, which runs and the pipeline change
-- all the time. Everybody's, as data centres are.
create or replace function public.log_data_centre_change()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform public.log_event(
        null, 'data_centre.changed', null,
        jsonb_build_object(
            'dc_id', new.dc_id, 'name', new.name, 'status', new.status, 'region_id', new.region_id, 'pue', new.pue,
            'total_capacity_mw', new.total_capacity_mw, 'changed', (
                select coalesce(jsonb_agg(column_.key order by column_.key), '[]')
                from jsonb_each(to_jsonb(new)) as column_
                where column_.key in ('name', 'status', 'region_id', 'pue', 'total_capacity_mw')
                    and column_.value is distinct from to_jsonb(old) -> column_.key)),
        new.dc_id);
    return null;
end
$$;

-- Deferred: the publishing lock comes after every other lock of whoever changes it.
do $trigger$
begin
    if not exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid = 'public.data_centres'::regclass and t.tgname = 'log_data_centre_change') then
        create constraint trigger log_data_centre_change
            after update on public.data_centres
            deferrable initially deferred
            for each row
            when ((old.name, old.status, old.region_id, old.pue, old.total_capacity_mw)
                is distinct from (new.name, new.status, new.region_id, new.pue, new.total_capacity_mw))
            execute function public.log_data_centre_change();
    end if;
end
$trigger$;


