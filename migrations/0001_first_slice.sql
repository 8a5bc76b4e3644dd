-- What a message needs to become a level: levels, users, the frontier, the outbox.

create table level (
    -- Counted from 0 without gaps.
    number integer primary key check (number >= 0),
    -- Data rather than a formula, so that a guild may keep its own curve.
    total_points_required bigint not null check (total_points_required >= 0),
    points_to_next_level bigint not null check (points_to_next_level >= 0),
    -- The guild's role, once it is known; its id is what a level role is.
    role_id bigint unique check (role_id > 0),
    -- Only some levels are named. Discord's limit is 100 characters.
    role_name text unique check (length(role_name) between 1 and 100)
);

create table user_point (
    user_id bigint primary key check (user_id > 0),
    -- XP in all. The level is computed from it and never stored.
    points bigint not null default 0 check (points >= 0),
    -- Messages that earned XP.
    message_count bigint not null default 0 check (message_count >= 0),
    -- Time of the latest message that earned; the cooldown runs from it.
    last_awarded_at timestamptz check (isfinite(last_awarded_at)),
    -- The user's choice of privacy.
    hidden boolean not null default false,
    -- Names as Discord sent them, for those who left; escaped where they are shown.
    username text,
    display_name text,
    nickname text,
    -- What the avatar is, and the copy that outlives the account.
    avatar_hash text,
    avatar_message_id bigint,
    avatar_link text,
    avatar_link_expires_at timestamptz check (isfinite(avatar_link_expires_at))
);

-- One row: up to where messages have been applied, and which bot may go on.
create table watermark (
    only_row boolean primary key default true check (only_row),
    -- Everything up to this message has been applied and committed.
    message_id bigint not null default 0,
    -- Raised by each bot that takes over; a batch of an older epoch is refused.
    owner_epoch bigint not null default 0,
    -- Number of the last batch, by which a COMMIT of unknown outcome is recognised.
    batch_no bigint not null default 0,
    -- Rises while the owner lives. A count and not a time: no clock is trusted.
    heartbeat bigint not null default 0,
    -- The owner's own database session: when it has ended, so has the owner.
    owner_pid integer,
    owner_started_at timestamptz
);
insert into watermark default values;

-- What Discord must still be told after a commit. A row is deleted when it has been.
create table outbox (
    -- The message that brought the level, and the nonce of the line about it.
    message_id bigint primary key check (message_id > 0),
    user_id bigint not null check (user_id > 0),
    channel_id bigint not null check (channel_id > 0),
    level integer not null check (level between 0 and 65535),
    attempts integer not null default 0 check (attempts >= 0),
    -- By the bot's clock, which also reads it; a new row is due at once.
    next_attempt_at timestamptz not null default 'epoch'
);

-- What each user earned on each day of the guild's time zone.
create table xp_day (
    user_id bigint not null,
    day date not null,
    points bigint not null,
    messages bigint not null,
    primary key (user_id, day)
);
