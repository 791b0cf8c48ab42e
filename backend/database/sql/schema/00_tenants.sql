-- Tenants: where their functions are -----------------------------------------------------------------------------------------
--
-- A tenant is an operator. Two schemas that PostgREST does not expose: "tenancy" holds who belongs to whom, and "tenant"
-- the functions as a tenant has them. Nobody but our own functions reaches their tables.

create schema if not exists tenancy;
create schema if not exists tenant;

-- Their functions are made again below and by the second file; those that policies depend on stay.
do $drop$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace in ('tenancy'::regnamespace, 'tenant'::regnamespace)
    loop
        begin
            execute format('drop function %s', routine.signature);
        exception
            when dependent_objects_still_exist then null;
        end;
    end loop;
end
$drop$;


