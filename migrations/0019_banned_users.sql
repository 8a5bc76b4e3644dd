-- Who is banned from the guild: they are on no board while the ban lasts.

-- One row for each banned user, whether or not they ever earned XP: if an import brings XP of theirs later, the board must not
-- show it. Written from Discord's events and from its list of bans; deleted when the ban is lifted.
create table banned_user (
    user_id bigint primary key check (user_id > 0)
);
