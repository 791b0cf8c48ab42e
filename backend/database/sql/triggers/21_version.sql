-- The version is whole -------------------------------------------------------------------------------------------------

update public.schema_version
set applied_at = now(), program = coalesce(nullif(current_setting('pylon.program', true), ''), 'pasted'),
    fingerprint = '{fingerprint}'
where version = {version};

-- A program of version 1 knows its schema by this comment, and leaves a database alone that bears it: started beside
-- newer ones, it must not put its functions back.
comment on table public.pipeline_runs is 'pylon-deg schema 9433b91718ae4681';

notify pgrst, 'reload schema';
