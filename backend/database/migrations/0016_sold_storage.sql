-- Compatible from: 1

-- What batteries were sold to do for an event, half-hour by half-hour, until they have back what they gave.
create table public.flexibility_storage (
    event_id uuid not null references public.flexibility_events,
    asset_id text not null references public.storage_assets,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    unit_id text not null references public.flexibility_units,
    charge_mw numeric not null check (charge_mw >= 0),
    discharge_mw numeric not null check (discharge_mw >= 0),
    primary key (event_id, asset_id, half_hour)
);
create index flexibility_storage_asset on public.flexibility_storage (asset_id, half_hour);
create index flexibility_storage_unit on public.flexibility_storage (unit_id);
