-- Levels that were reached long ago are told together, in one message for many.

alter table outbox
    -- The message of the first of those that are told together with this one. Set before the
    -- line is posted, so that a restart tells of the same levels again under the same nonce,
    -- which Discord posts once. Null: told by itself, or not put together with others yet.
    add column told_with bigint check (told_with > 0);
