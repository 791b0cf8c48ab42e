-- The audit log is written once ------------------------------------------------------------------------------------

create or replace function public.refuse_audit_change()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception '% is an audit log: % is not allowed', tg_table_name, tg_op
        using errcode = 'insufficient_privilege', hint = 'Publish a new decision instead.';
end
$$;

create or replace trigger refuse_row_change
    before update or delete on public.orchestration_decisions
    for each row execute function public.refuse_audit_change();
create or replace trigger refuse_truncate
    before truncate on public.orchestration_decisions
    for each statement execute function public.refuse_audit_change();
-- "always": not even a session that calls itself a replica may pass.
alter table public.orchestration_decisions enable always trigger refuse_row_change;
alter table public.orchestration_decisions enable always trigger refuse_truncate;

-- The grids are the greater part of the decisions' inputs.
create or replace trigger refuse_row_change
    before update or delete on public.decision_grids
    for each row execute function public.refuse_audit_change();
create or replace trigger refuse_truncate
    before truncate on public.decision_grids
    for each statement execute function public.refuse_audit_change();
alter table public.decision_grids enable always trigger refuse_row_change;
alter table public.decision_grids enable always trigger refuse_truncate;


