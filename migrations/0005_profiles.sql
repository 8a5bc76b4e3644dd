-- Everyone keeps a name and a face: which copy of which avatar there is, what has changed, and who is looked up when.

alter table user_point
    -- The avatar chosen for this guild, which is shown instead of the account's.
    add column guild_avatar_hash text,
    -- Which avatar the copy shows, so that it is made once. Null: there is none, or it is not
    -- to be relied upon and a new one is due; the old link stays until then.
    add column avatar_copy_hash text,
    -- Since when the account is known to be no more. Null as soon as it is seen again.
    add column gone_at timestamptz check (isfinite(gone_at)),
    -- The hour of a two-week round in which the profile is looked up. Null: not spread yet.
    add column bucket_number smallint check (bucket_number between 1 and 336),
    -- Copies that failed since the avatar last changed. Whoever has too many waits for a person.
    add column profile_attempts integer not null default 0 check (profile_attempts >= 0);

update user_point set avatar_copy_hash = avatar_hash where avatar_message_id is not null;

-- Who is next within a bucket, and how full each is.
create index user_point_of_bucket on user_point (bucket_number, user_id);
-- Whose avatar a message of the channel is.
create index user_point_of_avatar_message on user_point (avatar_message_id);
-- Which link expires first.
create index user_point_by_link_expiry on user_point (avatar_link_expires_at);

-- Which change of a queued profile this is. A sequence and not a count, so that no number
-- comes twice for a user whose row was deleted in between.
create sequence updated_user_version;

-- Profiles that have changed. A row is deleted when all of it has been stored, and its picture
-- copied.
create table updated_user (
    user_id bigint primary key references user_point (user_id) on delete cascade,
    -- A row is deleted at the version that was processed: what comes meanwhile stays.
    version bigint not null default nextval('updated_user_version'),
    -- The oldest comes first, however often it changes while it waits.
    queued_at timestamptz not null default now(),
    -- What was seen of the account. Null where only the picture is wanted.
    username text,
    display_name text,
    avatar_hash text,
    -- Whether they were seen as a member: what was not seen is not empty.
    member_seen boolean not null default false,
    nickname text,
    guild_avatar_hash text,
    -- Whether what was seen is in user_point by now. What is left is the picture.
    stored boolean not null default false,
    -- When the picture is tried again, by the bot's clock.
    next_attempt_at timestamptz not null default 'epoch',
    -- Why it failed, for the operators.
    last_error text,
    check (stored or username is not null)
);

-- The two ends of the queue that are looked at again and again.
create index updated_user_in_order on updated_user (stored, queued_at, user_id);

-- Avatars that have never been copied.
insert into updated_user (user_id, stored)
select user_id, true from user_point where avatar_hash is not null and avatar_message_id is null;

-- One row: which bucket is being worked through, so that a restart skips nobody.
create table profile_bucket_in_progress (
    only_row boolean primary key default true check (only_row),
    bucket_number smallint not null default 1 check (bucket_number between 1 and 336),
    -- Null before the very first one.
    began_at timestamptz check (isfinite(began_at)),
    -- The last one who was looked up; the others of the bucket have greater ids.
    last_user_id bigint not null default 0,
    last_look_at timestamptz check (isfinite(last_look_at))
);
insert into profile_bucket_in_progress default values;
