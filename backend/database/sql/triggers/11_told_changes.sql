-- What the log of events tells of data centres and agents, whoever changes them -------------------------------------------------

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

-- An agent that does otherwise than before. Not that it has gone or is back: every restart of a gateway would take a number
-- between two decisions. The publishing lock comes before the row in which its tenant's states are counted,
-- as it does for publishers: so this trigger comes before number_agent_state.
create or replace function public.log_agent_state()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    last text;
begin
    select s.state into last
    from public.agent_states s
    where s.tenant = new.tenant and s.agent_id = new.agent_id
    order by s.observed_at desc, s.state_id desc
    limit 1;
    if new.state <> last and not array[new.state, last] && array['STARTED', 'STOPPED'] then
        perform public.log_event(
            new.tenant, 'agent.changed', null,
            jsonb_strip_nulls(jsonb_build_object(
                'agent_id', new.agent_id, 'state', new.state, 'before', last, 'detail', new.detail,
                'observed_at', new.observed_at)),
            new.agent_id);
    end if;
    return new;
end
$$;

create or replace trigger log_agent_state -- after file_under_tenant
    before insert on public.agent_states
    for each row execute function public.log_agent_state();


