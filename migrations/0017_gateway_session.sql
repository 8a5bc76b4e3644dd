-- The gateway session that a bot leaves at an orderly end, so that the next one misses nothing and reads no history.

-- Empty, or one row: written when everything that the session's events up to `sequence` brought is committed, and deleted by
-- whoever takes the database next, which is the only one that may resume the session.
create table gateway_session (
    only_row boolean primary key default true check (only_row),
    -- The owner that left it. A version that does not know this table leaves the row where it is, and is then the owner before.
    owner_epoch bigint not null,
    -- Who identified with what: a bot of another account, for another guild or with other intents begins a session.
    bot_id bigint not null check (bot_id > 0),
    guild_id bigint not null check (guild_id > 0),
    intents bigint not null check (intents >= 0),
    -- Discord's.
    session_id text not null,
    -- Of the last event that was handled.
    sequence bigint not null check (sequence >= 0),
    -- Where Discord wants the session to be resumed; null for the usual address.
    resume_url text,
    -- By Postgres' clock, as everything that is compared with it.
    left_at timestamptz not null
);
