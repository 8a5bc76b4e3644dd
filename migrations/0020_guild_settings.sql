-- What moderators set for the guild with commands. Append-only: each change is a row, and the newest row of a name counts.

create table guild_setting (
    -- What is set, such as 'role_rewards'.
    name text not null check (name <> ''),
    -- The interaction or message that set it. It tells when by Discord's clock, orders the changes, and makes a request that
    -- arrives twice one change.
    request_id bigint not null check (request_id > 0),
    -- What it was set to; which values there are is the program's matter.
    value text not null,
    -- Who set it.
    moderator_id bigint not null check (moderator_id > 0),
    -- The newest of a name is read from its end.
    primary key (name, request_id)
);
