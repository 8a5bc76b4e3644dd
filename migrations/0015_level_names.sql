-- That level names are chosen once for each database, and which roles are left to delete when all of them are taken off.

-- Empty, or one row: where this database's level names came from first. What moderators do afterwards counts, so that nobody
-- chooses again once there is a row: also not in a database in which moderators have taken all names off.
create table level_names_choice (
    only_row boolean primary key default true check (only_row),
    -- For people. 'none', 'computing' and 'file' are what WALLE_LEVEL_NAMES said at the first start, 'import' is another bot's
    -- dump, and 'existing' is a database whose levels had their names before the choice was recorded.
    source text not null check (source in ('none', 'computing', 'file', 'import', 'existing'))
);
-- Levels were filled in together with names until now.
insert into level_names_choice (source) select 'existing' where exists (select from level);

-- Roles that levels carried and that a moderator has asked to be deleted. Noted in the transaction that takes them off the
-- levels, as nothing else tells then that they were level roles; a row is deleted when its role is.
create table role_deletion (
    role_id bigint primary key check (role_id > 0)
);
