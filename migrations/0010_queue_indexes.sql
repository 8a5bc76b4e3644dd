-- Queues stay quick at a million users: what a task looks for again and again is the next rows of an index. Each index takes about a second to be made for a million rows, at the first start, while nobody can write into its table.

-- The next pictures that are due. Without it, every picture sorts all that wait.
create index updated_user_due on updated_user (next_attempt_at, queued_at, user_id) where stored;

-- Which link expires first of those that are relied upon. The index before it held the others
-- too, which had to be passed over where many copies were lost at once.
create index user_point_by_expiry_of_copy on user_point (avatar_link_expires_at)
    where avatar_copy_hash is not null;
drop index user_point_by_link_expiry;

-- Whose roles come first, where an import or a long absence leaves many to be looked at.
create index role_work_in_order on role_work (asked_at, user_id);
