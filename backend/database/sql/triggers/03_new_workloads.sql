-- A new workload asks for a decision, whoever inserted it ------------------------------------------------------------

create or replace function public.notify_new_workload()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status = 'PENDING' then
        insert into public.workload_notifications (job_id) values (new.job_id);
        perform pg_notify('workload_ready', '');
    end if;
    return new;
end
$$;

create or replace trigger notify_new_workload
    after insert on public.compute_workloads
    for each row execute function public.notify_new_workload();


