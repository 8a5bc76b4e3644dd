-- How buttons are taken off an answer in a channel that the bot may not see.

alter table open_buttons
    -- The interaction that the message answers, if any: whose application it came to, and its token. With it the message
    -- can be changed for 15 minutes, whatever the bot may do in the channel. The token is good for nothing else and
    -- the row goes when the buttons do.
    add column application_id bigint check (application_id > 0),
    add column token text,
    add check ((application_id is null) = (token is null));
