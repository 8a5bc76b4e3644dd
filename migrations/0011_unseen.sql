-- What was not seen of a user is not empty: each field of a queued profile that may be empty says whether it was seen.

alter table updated_user
    -- The field was not shown, and the stored one stays. An older bot knows all or nothing
    -- of the account, and of the member what `member_seen` says.
    add column display_name_unseen boolean not null default false,
    add column avatar_hash_unseen boolean not null default false,
    add column nickname_unseen boolean not null default false,
    add column guild_avatar_hash_unseen boolean not null default false;
