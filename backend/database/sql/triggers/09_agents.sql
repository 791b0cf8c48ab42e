-- The agents that decide -------------------------------------------------------------------------------------------------

-- Each state has the next number of its tenant's.
create or replace function public.number_agent_state()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    insert into public.tenant_numbers as t (tenant, newest_state) values (new.tenant, 1)
    on conflict (tenant) do update set newest_state = t.newest_state + 1
    returning t.newest_state into new.tenant_state_id;
    return new;
end
$$;

create or replace trigger number_agent_state -- after file_under_tenant: they are called in the order of their names
    before insert on public.agent_states
    for each row execute function public.number_agent_state();

-- An agent that starts: made, or made active again, with its state.
create or replace function public.register_agent(
    p_agent_id text, p_name text, p_agent_type text, p_version text, p_detail text)
returns json
language sql
set search_path = ''
as $$
    with registered as (
        insert into public.agents as a (agent_id, name, agent_type, version)
        values (p_agent_id, p_name, p_agent_type, p_version)
        on conflict (agent_id) do update set
            name = excluded.name, agent_type = excluded.agent_type, version = excluded.version, status = 'ACTIVE'
        returning a.tenant, a.agent_id
    ),
    noted as (
        insert into public.agent_states (tenant, agent_id, state, detail)
        select registered.tenant, registered.agent_id, 'STARTED', p_detail from registered
    )
    select json_build_object('agent_id', (select agent_id from registered))
$$;

-- A state that differs from the agent's last one; STOPPED also takes it off the list of active agents. Answers
-- {"recorded": whether it differed}.
create or replace function public.record_agent_state(p_agent_id text, p_state text, p_detail text default null)
returns json
language sql
set search_path = ''
as $$
    with noted as (
        insert into public.agent_states (tenant, agent_id, state, detail)
        select a.tenant, a.agent_id, p_state, p_detail
        from public.agents a
        where a.agent_id = p_agent_id
            and not exists (
                select
                from (
                    select s.state, s.detail
                    from public.agent_states s
                    where s.agent_id = p_agent_id
                    order by s.observed_at desc, s.state_id desc
                    limit 1) as last
                where (last.state, last.detail) is not distinct from (p_state, p_detail))
        returning agent_id
    ),
    activity as (
        update public.agents a
        set status = case when p_state = 'STOPPED' then 'STOPPED' else 'ACTIVE' end
        from noted
        where a.agent_id = noted.agent_id
    )
    select json_build_object('recorded', exists (select from noted))
$$;


