-- What moderators have been told of problems that last, and the channels in which the bot keeps its own messages.

-- Problems that the council's channel shows. A row is deleted when its problem is solved.
create table council_notice (
    -- Which problem it is, in the words of whoever found it: a later look knows it again.
    key text primary key,
    -- Who looks for it: what is solved is told by what they no longer find.
    scope text not null,
    -- What is shown, so that a problem that has not changed costs no call to Discord. Empty
    -- when the message is believed to be gone.
    text text not null,
    -- Without it a message cannot be edited; and it tells a channel that is gone.
    channel_id bigint not null check (channel_id > 0),
    -- The message to rewrite, and by which a pressed button is known.
    message_id bigint not null unique check (message_id > 0)
);

-- All problems of one scope are compared at once.
create index council_notice_of_scope on council_notice (scope);

-- Channels of the bot's own: found by name once, or created.
create table channel (
    -- What it is for, and the name that was set: it may have another in Discord by now.
    purpose text primary key,
    channel_id bigint not null check (channel_id > 0)
);
