-- The guild's own rules on XP. What a message earns depends on the message and on what these tables hold for its id, so that
-- reading it later, or replaying a log, gives the same. Rows are added and never changed.

-- Rules that began, were replaced or ended.
create table xp_rule (
    -- The order in which they were made.
    id bigint generated always as identity primary key,
    -- The interaction or message that asked for it: one that arrives twice changes once. Null if the rule ended because its
    -- channel or role was deleted.
    request_id bigint unique check (request_id > 0),
    -- Who answers for it.
    moderator_id bigint check (moderator_id > 0),
    subject text not null check (subject in ('everyone', 'channel', 'role', 'user')),
    -- 0 for everyone.
    subject_id bigint not null check (subject_id >= 0 and (subject_id = 0) = (subject = 'everyone')),
    -- A subject may have one rule of each kind.
    kind text not null check (kind in ('no_xp', 'multiplier')),
    -- Whether the rule is set or ends.
    is_set boolean not null,
    -- Only multipliers have one.
    percent integer check (percent between 1 and 1000),
    -- Holds for the messages after this one: the request, or the newest message that was counted before it was saved.
    after_id bigint not null check (after_id >= 0),
    -- Messages sent at this time or later are not affected; null if it does not expire.
    until timestamptz check (isfinite(until)),
    check ((request_id is null) = (moderator_id is null)),
    check (request_id is not null or not is_set),
    check ((percent is not null) = (is_set and kind = 'multiplier')),
    check (until is null or is_set)
);

-- Where each channel stands: a channel in its category, a thread in its channel.
create table channel_parent (
    channel_id bigint not null check (channel_id > 0),
    -- Holds for the messages after this one; 0 for all.
    after_id bigint not null check (after_id >= 0),
    -- Null for a channel outside all categories.
    parent_id bigint check (parent_id > 0),
    primary key (channel_id, after_id)
);

-- Who holds the roles that rules name, and only those.
create table role_holder (
    user_id bigint not null check (user_id > 0),
    role_id bigint not null check (role_id > 0),
    -- Holds for the messages after this one; 0 for all.
    after_id bigint not null check (after_id >= 0),
    holds boolean not null,
    primary key (user_id, role_id, after_id)
);

-- How much of a day's points multipliers brought, so that members can be told where their XP comes from. Negative below 100 %.
alter table xp_day add column by_rules bigint not null default 0;

-- The rate at which a remembered message earns, in millionths: late messages are counted with it.
alter table history_counted add column rate integer not null default 1000000 check (rate between 1 and 10000000);
