-- Compatible from: 7

-- Baselines that are adjusted by the hours before gate closure: what is added stands in the decision that an event is over. Tables
-- stay as they are; the functions that read baselines add it.
