-- What the right level roles on the right members need to be told, and to remember.

alter table level
    -- Whether the role's id has been seen in the guild. Then its absence means that a human
    -- deleted it; an imported id may be of another guild, and counts as null until then.
    -- Whoever inserts by hand need not know.
    add column role_seen boolean not null default false;

alter table outbox
    -- The level before; null for who had none yet, and for rows of before this column. The
    -- roles of all levels from there up are what the line speaks of.
    add column from_level integer check (from_level between 0 and 65535),
    -- Whether the roles have been given. The line comes after them, and may fail by itself.
    add column roles_given boolean not null default false,
    -- A moderator's command is a message too: it can bring a level to whoever wrote it and,
    -- by what it does, to someone else.
    drop constraint outbox_pkey,
    add primary key (message_id, user_id);

-- Members whose roles must be looked at: they came back, or passed the screening. A row is
-- deleted when they have been.
create table role_work (
    user_id bigint primary key check (user_id > 0),
    -- Which asking this is: one that comes while an earlier one is worked on still counts.
    asked_at timestamptz not null check (isfinite(asked_at)),
    attempts integer not null default 0 check (attempts >= 0),
    -- By the bot's clock, which also reads it; a new row is due at once.
    next_attempt_at timestamptz not null default 'epoch'
);

-- One row: when all members' roles were last verified, and what a moderator has allowed.
create table verification (
    only_row boolean primary key default true check (only_row),
    -- By which it is told whether today's is still to be done. A restart must not repeat it.
    finished_at timestamptz check (isfinite(finished_at)),
    -- From how many members roles may be taken at once, although it is many.
    allowed_removals integer check (allowed_removals >= 0),
    -- A word that was given for one day's plan must not hold for another's.
    allowed_until timestamptz check (isfinite(allowed_until))
);
insert into verification default values;
