-- What decisions are made from has changed --------------------------------------------------------------------------------

-- Notes the transaction once, however much it changes. Not by a lock or a counter, for which writers would wait for each
-- other: a reader sees the note as soon as it sees the change, and not before. Whoever keeps a grid is told at its commit.
create or replace function public.note_grid_change()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.grid_changes default values on conflict (transaction) do nothing;
    perform pg_notify('grid_changed', '');
    return null;
end
$$;

do $grid$
declare
    part text;
begin
    foreach part in array array['grid_signals', 'regional_grid_signals', 'generation_mix', 'loss_of_load_forecasts'] loop
        execute format(
            'create or replace trigger note_grid_change after insert or update or delete or truncate on public.%I '
            'for each statement execute function public.note_grid_change()', part);
    end loop;
end
$grid$;

-- Row by row, since these files state the regions anew whenever they are run.
create or replace trigger note_grid_change after insert or delete on public.regions
    for each row execute function public.note_grid_change();
create or replace trigger note_grid_change_of_region after update on public.regions
    for each row when (old.* is distinct from new.*) execute function public.note_grid_change();

create or replace trigger note_grid_change after insert or delete or truncate on public.data_centres
    for each statement execute function public.note_grid_change();
-- Not the load of what runs for us, nor what the pipeline copies from the region's signal: no decision is made from them.
create or replace trigger note_grid_change_of_centre after update on public.data_centres
    for each row
    when ((
        old.dc_id, old.name, old.operator, old.region_id, old.location_region, old.latitude, old.longitude, old.pue,
        old.total_capacity_teraflops, old.total_capacity_mw, coalesce(old.base_load_percentage, old.current_load_percentage),
        old.flexibility_rating, old.min_load_percentage, old.ramp_rate_mw_per_min, old.status, old.is_synthetic
    ) is distinct from (
        new.dc_id, new.name, new.operator, new.region_id, new.location_region, new.latitude, new.longitude, new.pue,
        new.total_capacity_teraflops, new.total_capacity_mw, coalesce(new.base_load_percentage, new.current_load_percentage),
        new.flexibility_rating, new.min_load_percentage, new.ramp_rate_mw_per_min, new.status, new.is_synthetic))
    execute function public.note_grid_change();


