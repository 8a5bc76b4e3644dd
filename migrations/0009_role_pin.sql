-- Which roles of the guild the names in the settings mean.

-- A name that one role bore when it was looked for. The role is followed by its id from then on, so that another role
-- of that name gives nobody rights, and a rename takes none away. A row is deleted when its role is gone, or when
-- the settings no longer hold the name.
create table role_pin (
    -- As it stands in WALLE_MODERATOR_ROLES, WALLE_PRIVACY_ROLES or WALLE_OPERATOR_ROLES.
    name text primary key,
    role_id bigint not null check (role_id > 0)
);
