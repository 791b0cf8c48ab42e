-- Workloads arrive all or none ---------------------------------------------------------------------------------------

-- p_rows: submissions with job_id and submission_digest. Answers {"created": [job_id…], "rows": [stored rows…]}, or,
-- with nothing stored, {"conflicts": […]}, {"unknown_operators": […], "known_operators": […]} or the same for data
-- centres.
create or replace function public.submit_workloads(p_rows jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    unknown_words json;
    created_ids text[];
    conflicting text[];
    bucket integer;
begin
    select json_agg(distinct r.operator) into unknown_words
    from jsonb_to_recordset(p_rows) as r (operator text)
    where r.operator is not null and not exists (select from public.operators o where o.operator_id = r.operator);
    if unknown_words is not null then
        return json_build_object('unknown_operators', unknown_words, 'known_operators', (
            select coalesce(json_agg(known.operator_id), '[]')
            from (select operator_id from public.operators order by operator_id limit 50) as known));
    end if;

    select json_agg(distinct r.host_dc_id) into unknown_words
    from jsonb_to_recordset(p_rows) as r (host_dc_id text)
    where r.host_dc_id is not null and not exists (select from public.data_centres d where d.dc_id = r.host_dc_id);
    if unknown_words is not null then
        return json_build_object('unknown_data_centres', unknown_words, 'known_data_centres', (
            select coalesce(json_agg(known.dc_id), '[]')
            from (select dc_id from public.data_centres order by dc_id limit 50) as known));
    end if;

    -- Tenants name their own jobs as they like. Whoever sees them all tells them by their names, so that one that is
    -- taken by anybody is taken here: requests that might take the same one go one after the other.
    for bucket in
        select distinct abs(hashtext(r.job_id) % 64)
        from jsonb_to_recordset(p_rows) as r (job_id text)
        order by 1
    loop
        perform pg_advisory_xact_lock(7263813, bucket);
    end loop;

    -- The inner block is a savepoint: a conflict found after the insert takes the whole request back. The check comes
    -- after, in a statement of its own, because only then does it see a row another request committed meanwhile.
    begin
        with inserted as (
            insert into public.compute_workloads (
                job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores,
                required_memory_gb, estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins,
                submission_digest, run)
            select
                r.job_id, r.operator, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
                r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
                r.deferral_window_mins, r.submission_digest, r.run
            from jsonb_populate_recordset(null::public.compute_workloads, p_rows) as r
            order by r.job_id -- two overlapping requests take their locks in one order
            on conflict (tenant, job_id) do nothing
            returning job_id
        )
        select coalesce(array_agg(inserted.job_id), '{}') into created_ids from inserted;

        select array_agg(r.job_id) into conflicting
        from jsonb_to_recordset(p_rows) as r (job_id text, operator text, submission_digest text)
        join public.compute_workloads w on w.job_id = r.job_id
        where case
            when w.tenant = coalesce(r.operator, 'local') then w.submission_digest is distinct from r.submission_digest
            else r.job_id = any (created_ids) end;
        if conflicting is not null then
            raise exception using errcode = 'PY409';
        end if;
    exception
        when sqlstate 'PY409' then
            return json_build_object('conflicts', conflicting);
    end;

    return json_build_object('created', created_ids, 'rows', (
        select json_agg(w order by r.position)
        from jsonb_array_elements(p_rows) with ordinality as r (submitted, position)
        join public.compute_workloads w
            on (w.tenant, w.job_id) = (coalesce(r.submitted ->> 'operator', 'local'), r.submitted ->> 'job_id')));
end
$$;


