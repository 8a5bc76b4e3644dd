-- A bot that stands by asks the owner to end: nothing outside the database knows who runs.

alter table lease
    -- The owner_epoch of the owner that is asked to end. Any other owner ignores it, so a request
    -- that outlives its owner ends nobody.
    add column yield_epoch bigint;
