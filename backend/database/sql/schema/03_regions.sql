-- The 17 regions of the Carbon Intensity API: 14 distribution licence areas and three countries -----------------

insert into public.regions (region_id, short_name, dno_region, country, is_aggregate, latitude, longitude)
values
    (1, 'North Scotland', 'Scottish Hydro Electric Power Distribution', 'Scotland', false, 57.48, -4.22),
    (2, 'South Scotland', 'SP Distribution', 'Scotland', false, 55.86, -4.25),
    (3, 'North West England', 'Electricity North West', 'England', false, 53.76, -2.70),
    (4, 'North East England', 'NPG North East', 'England', false, 54.97, -1.61),
    (5, 'Yorkshire', 'NPG Yorkshire', 'England', false, 53.80, -1.55),
    (6, 'North Wales and Merseyside', 'SP Manweb', 'Wales', false, 53.19, -3.17),
    (7, 'South Wales', 'WPD South Wales', 'Wales', false, 51.62, -3.94),
    (8, 'West Midlands', 'WPD West Midlands', 'England', false, 52.48, -1.90),
    (9, 'East Midlands', 'WPD East Midlands', 'England', false, 52.95, -1.15),
    (10, 'East England', 'UKPN East', 'England', false, 52.20, 0.12),
    (11, 'South West England', 'WPD South West', 'England', false, 50.72, -3.53),
    (12, 'South England', 'SSE South', 'England', false, 50.91, -1.40),
    (13, 'London', 'UKPN London', 'England', false, 51.51, -0.13),
    (14, 'South East England', 'UKPN South East', 'England', false, 51.27, 0.52),
    (15, 'England', 'England', 'England', true, 52.56, -1.46),
    (16, 'Scotland', 'Scotland', 'Scotland', true, 56.49, -4.20),
    (17, 'Wales', 'Wales', 'Wales', true, 52.33, -3.77)
on conflict (region_id) do update set
    short_name = excluded.short_name,
    dno_region = excluded.dno_region,
    country = excluded.country,
    is_aggregate = excluded.is_aggregate,
    latitude = excluded.latitude,
    longitude = excluded.longitude;


