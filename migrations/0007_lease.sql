-- Who owns the database beats on a row of its own, which no batch ever locks.

-- One row. The watermark keeps what fences the writes: owner_epoch and batch_no. A batch holds
-- the watermark's row for as long as Postgres takes to save it, so a beat on that row waits for
-- the batch, and whoever stands by takes a healthy owner for dead.
--
-- Versions before this migration beat on the watermark. During ./run_walle.sh deploy both kinds
-- of bot see each other:
-- * The old bot owns, the new one stands by. The old bot raised owner_epoch of the watermark
--   alone. Where the two epochs differ, the new bot watches the beat on the watermark, and
--   claims only what has not moved there.
-- * The new bot owns, an old one stands by. The owner beats on the watermark too, except while
--   somebody holds that row: a batch that takes seconds looks to an old bot as it always did.
-- * The old bot takes over from a new one. It raises owner_epoch of the watermark alone. The new
--   one compares that at each beat, and is refused at each batch. Whoever claims next raises
--   both.
-- * Back to an old version: it does not start on this schema, as after any migration. Until the
--   new bot has the database, the old one that runs is not disturbed and keeps it.
create table lease (
    only_row boolean primary key default true check (only_row),
    -- Whose beat this is: the watermark's owner_epoch, unless a version before this row claimed
    -- that.
    owner_epoch bigint not null default 0,
    -- Rises while the owner lives. A count and not a time: no clock is trusted.
    heartbeat bigint not null default 0,
    -- The owner's own database session: when it has ended, so has the owner. Null: given free.
    owner_pid integer,
    owner_started_at timestamptz
);
insert into lease default values;
