-- Compatible from: 1

-- The table schema_version is made by the first lines of supabase_schema.sql: version 1 had none.
