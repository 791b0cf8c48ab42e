-- Compatible from: 1

-- The table schema_version is made by the first lines of supabase_schema.sql: version 1 had none.

-- Any text names a key, and a key_id is its platform's own: it was a UUID, and one platform's alone.
alter table public.beckn_subscribers
    drop constraint beckn_subscribers_pkey,
    alter column key_id type text using key_id::text,
    add constraint beckn_subscribers_pkey primary key (subscriber_id, key_id),
    add constraint beckn_subscribers_key_id_check check (key_id ~ '^[^|"[:cntrl:]]{1,200}$');
