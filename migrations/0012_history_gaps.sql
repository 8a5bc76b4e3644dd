-- What is left of a gap when one channel's history does not answer: where, and what must be known to count it later.

-- Messages that could not be read while everything else was counted. A row is deleted when they have been counted, or when
-- they never can be.
create table history_interval (
    id bigint generated always as identity primary key,
    -- What could not be read: a channel's messages, its archived threads, or the guild's active threads.
    source text not null check (source in ('messages', 'archived_threads', 'active_threads')),
    -- 0 for the guild's own list.
    channel_id bigint not null check (channel_id >= 0 and (channel_id = 0) = (source = 'active_threads')),
    -- The channel's name at that time, for people.
    name text not null,
    -- Missing are messages above this id; it rises as they are counted.
    after_id bigint not null check (after_id > 0),
    -- The last id that may be missing: what is newer came live.
    until_id bigint not null check (until_id > after_id),
    attempts integer not null default 0 check (attempts >= 0),
    -- By the bot's clock, which also reads it; a new row is due at once.
    next_attempt_at timestamptz not null default 'epoch'
);

-- Messages that were counted near such an interval: a late message changes which of them earned. Emptied when no interval is
-- left.
create table history_counted (
    user_id bigint not null check (user_id > 0),
    message_id bigint not null check (message_id > 0),
    -- Whether only the time of an award is known, and the id is the lowest of that time.
    is_award boolean not null,
    primary key (user_id, message_id)
);
