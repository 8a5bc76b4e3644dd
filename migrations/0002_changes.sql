-- What moderators change by hand, and buttons that outlive the process that posted them.

-- XP given, taken or set. Beside the messages, the other input of what a user has.
create table xp_change (
    -- The order in which they were made.
    id bigint generated always as identity primary key,
    -- The interaction or message that asked for it: one that arrives twice changes once.
    request_id bigint not null unique check (request_id > 0),
    -- Whose XP it is. No row of user_point is demanded: it is saved in the same transaction.
    user_id bigint not null check (user_id > 0),
    -- Who answers for it.
    moderator_id bigint not null check (moderator_id > 0),
    -- The time within the request's id: Discord's clock, and the same for whoever repeats it.
    changed_at timestamptz not null check (isfinite(changed_at)),
    -- What the moderator gave as a reason, if anything.
    reason text,
    -- Both, and not what was asked for: points stop at 0, and only these add up.
    points_before bigint not null check (points_before >= 0),
    points_after bigint not null check (points_after >= 0)
);

-- The latest changes of a user are what is asked for.
create index xp_change_of_user on xp_change (user_id, id desc);

-- Messages of the bot that still show buttons. A row is deleted when they are taken off.
create table open_buttons (
    message_id bigint primary key check (message_id > 0),
    -- Without it a message cannot be edited.
    channel_id bigint not null check (channel_id > 0),
    -- A row and not a sleep: a restart must not leave buttons that nobody answers.
    closes_at timestamptz not null check (isfinite(closes_at))
);

-- Those that are due are looked for again and again.
create index open_buttons_by_time on open_buttons (closes_at);
