"""The database: one door for Supabase, any PostgreSQL, and the embedded default."""
