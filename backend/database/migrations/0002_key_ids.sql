-- Any text names a key, and a key_id is its platform's own: it was a UUID, and one platform's alone.
do $key_ids$
begin
    if (
        select a.atttypid = 'pg_catalog.uuid'::regtype
        from pg_catalog.pg_attribute a
        where a.attrelid = 'public.beckn_subscribers'::regclass and a.attname = 'key_id') then
        alter table public.beckn_subscribers
            drop constraint beckn_subscribers_pkey,
            alter column key_id type text using key_id::text,
            add constraint beckn_subscribers_pkey primary key (subscriber_id, key_id),
            add constraint beckn_subscribers_key_id_check check (key_id ~ '^[^|"[:cntrl:]]{1,200}$');
    end if;
end
$key_ids$;
