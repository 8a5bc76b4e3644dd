-- A long catch-up is saved in several batches, and still brings each member one line.

alter table watermark
    -- Null unless a catch-up is under way of which a part is saved. Lines of the outbox from
    -- this message on wait for its last batch: what comes until then is merged into them. A
    -- restart in the middle goes on with the same lines.
    add column lines_held_from bigint check (lines_held_from > 0);
