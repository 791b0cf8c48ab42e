"""From the upstreams to the database: fetch, derive, fill what is missing, store."""
