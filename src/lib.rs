//! wall_e, a self-hosted Discord leveling bot: the map of the crate.
//!
//! In reading order, each module using only those before it:
//!
//! - [`leveling`] the rules, pure: ids, the curve, what a message earns, ranks, names
//! - [`backoff`] how long to wait before trying again; [`text_file`] files in the encodings
//!   that people's tools write; [`output`] what a command prints
//! - [`store`] Postgres: one file for each table, and the [lease](store::lease) on the whole
//! - [`xp`] the cache everyone reads and the engine, the one task that writes XP
//! - [`error`] who is told what; [`config`] flags and environment
//! - [`discord`] the gateway kept alive, events in our own types, REST under one policy, the
//!   council that moderators are told of problems in
//! - [`profiles`] a current name and a picture that loads, for everyone
//! - [`roles`] the right level roles on the right members
//! - [`import`] the levels of a fresh database and their names, another bot's dump
//! - [`check`] whether a database is what its messages come to
//! - [`commands`], [`listeners`], [`tasks`] what people, Discord and time ask of the bot:
//!   a visible list each
//! - [`app`] builds all of it, and ends it in order
//!
//! # How a message becomes a level
//!
//! `listeners/message` → [`xp::Inbox`] → [`xp::Engine`] → one transaction → [`xp::XpCache`]
//! and the outbox → `tasks/level_ups` → a line in the channel.
//!
//! A new gateway session, an outage, and an inbox that overflowed are gaps: the engine stops at
//! its frontier, `tasks/catch_up` reads the history from there, and what was read is merged by
//! id with what came live meanwhile, and applied in batches of bounded size, each of which moves
//! the frontier; the level-up lines of all of them come at the end, one for each member.
//!
//! A bot that ends in order leaves its gateway session in the database, after everything that it
//! has read is committed ([`store::gateway_session`]). The next one takes it together with the
//! lease and resumes it: no gap is opened, since Discord sends again what came in between.
//!
//! A channel or a list of threads that fails while Discord answers otherwise is set aside: the
//! transaction that moves the frontier past it says from where to where it is missing, and what
//! was counted meanwhile. `tasks/late_history` tries it until it answers, and the engine adds
//! what all those messages come to, less what was counted.
//!
//! # How a face becomes current
//!
//! An event or a list that is read anyway → [`profiles::Sightings`] compares it with the short
//! form in the cache → [`xp::UnsavedProfiles`] → if it is the author of a message that earns, the
//! transaction that saves the XP; else a row of the queue → [`profiles::ProfileSync`]: names, many at
//! a time; then pictures, each fetched, posted, and pointed to in one transaction before the old
//! one goes.
//! Everyone is looked up once in two weeks by [`profiles::RotatingRefresh`]; [`profiles::AvatarLinkRenewal`] renews what
//! expires.
//!
//! # Architecture invariants
//!
//! `tests/it/tidy.rs` checks those that a program can check.
//!
//! - **XP is a function of the guild's messages.** [`leveling::award`] knows the message's
//!   id and its author's standing, and no clock and no dice. A message that comes twice,
//!   late, or only when the history is read, ends in the same state. What moderators change
//!   is recorded beside it with its difference, and an input of the function too.
//! - **A batch counts exactly once.** The transaction that saves it moves the watermark
//!   from the batch before it. A COMMIT of unknown outcome is looked up, never assumed.
//! - **Who changes something is told the truth.** A change is put into a transaction only
//!   while somebody waits for it. "Not saved" means that it never will be; what is on its
//!   way and not answered is called unknown.
//! - **What Postgres loses is read again.** A watermark that stands further back than it was
//!   left (a failover, a restore) makes the bot start over from it, in the same process.
//! - **One sick channel is that channel's.** What could not be read of a gap is missing in the
//!   database until it is counted, to the same sum as if it had been read in time.
//! - **A session is left only when all of it is saved**, and taken once: who dies leaves none,
//!   and who takes one and dies has used it up.
//! - **One writer.** Only the engine writes XP, and only while the watermark holds its
//!   epoch. A bot that was replaced is refused by the database, however late it writes.
//! - **Commit first, show after.** The cache, the board and Discord learn of XP only when
//!   it can no longer be lost.
//! - **No false success and no false failure.** A change that somebody waits for is saved
//!   while they wait, or never; where nobody can know, that is what they are told.
//! - **Roles are reconciled, never poked.** What a member should hold is computed from their
//!   points, and only the differences are sent, one call at a time; what is not a level role
//!   is never touched, and nothing is decided for a human who deleted a role.
//! - **Unseen is not empty.** What somebody was not seen with (a message of the history has no
//!   nickname, an event may leave fields out) stays as it is; and a list that was asked for
//!   before an event never undoes it.
//! - **One task at a time saves what was observed of a user**, and looks at it with the user's
//!   row held: an older observation never overwrites a newer one.
//! - **Whoever had a picture has one.** A copy is pointed to before the old one is deleted, a
//!   link stays until there is another, and who is gone keeps the last of both.
//! - **Rights are checked where a thing is done.** What Discord shows to whom, and what
//!   stands in a button's id, gives nobody a right.
//! - **The frontier never passes a message that was not applied.**
//! - **Discord's time decides.** What is compared with times of Discord's (ids, links,
//!   buttons) is compared by [`discord::time`], never by the machine's wall clock, and an id
//!   from the future is refused at every door.
//! - **One definition of rank**: [`leveling::Board`]. Hidden users are not on it.
//! - **Nothing waits where events are handled**: the next one is not read before.
//! - **`sqlx` is known to `store` only, serenity and poise to the Discord side only, the
//!   environment to `config` only.**
//! - **No secret is printable**: the token and the database's URL are `SecretString`s, and
//!   a REST error holds no URL, in which an interaction's token would stand. The process
//!   leaves no core dump.
//!
//! # Where this differs from the house plan, and why
//!
//! - The gateway is twilight's, and poise runs on a serenity that is connected to nothing
//!   ([`discord::offline_shard`]): serenity's own gateway cannot be told when to begin a session,
//!   identifies where it could resume, and has no time limit for a connection.
//! - Every connection is a shard of its own ([`discord::gateway`]): twilight reconnects by
//!   itself with pauses that cannot be set, and waits for `HELLO` and `READY` for ever.
//! - The session that a deploy hands on is stored in a transaction right after the last commit and
//!   not with it. It may be left only when all else is saved, which three tasks do and not the
//!   engine alone; and the same condition on the watermark fences both.
//! - A bot that goes on with a session asks for the guild and its own application, and for no
//!   channels or threads: nothing is kept of them that could be missing.
//! - An event is parsed once, into our own types of the few fields that are needed
//!   ([`discord::payload`]). Only what poise must see becomes serenity's model, and is rebuilt of
//!   the few fields that commands need where serenity cannot parse it.
//! - Our own code makes every REST call and reads what it answers; of serenity only the requests'
//!   shapes and the models are used. serenity's limiter keeps one limit for reading and writing a
//!   channel and one bucket for each interaction for ever, measures by the wall clock, and sleeps
//!   through limits of any length; here there is one limiter, one brake and one policy
//!   ([`discord::rest`]), and poise's suggestions go through them too.
//! - A reading ends at the newest message that was there when all channels and threads had
//!   been listed, and how far back it goes is counted from there: no wall clock decides what
//!   counts. What is newer comes live, since the session had begun before the reading did.
//! - The schema is brought up to date before the lease is held: migrations add, so that a
//!   standby of the next version does not disturb the bot it waits for. Where one has to
//!   change a key, the older bot keeps what it cannot save until it is replaced.
//! - The lease is a beat on a row of its own, and the owner's database session beside it.
//!   The session's end shows a crash at once; the missing beat shows a hang. Neither
//!   needs a wall clock, and an advisory lock would say nothing of a hang.
//! - A command waits on a marker that it sends through the inbox, not for its message's id
//!   to be reached: it works for slash commands too, and for messages that earn nothing.
//! - Nonces tell apart what is said about one message, which Discord would otherwise take
//!   for repeats: a reply's is the message's id behind an `r`, a level-up line's the id and
//!   the last digits of whose level it is.
//! - A button's meaning is its id, and when it stops working is told by the two ids that
//!   Discord gave: to its message and to the press. Only what must happen without a press,
//!   taking the buttons off, needs a table.
//! - What moderators change is kept as the difference that it made: differences add up in
//!   any order, so what is read of a gap later still comes to the same sum.
//! - A level-up gives the roles between the level before and the one reached, without asking
//!   what the member holds: one call. Whoever earns for the first time gets the lowest level's
//!   role through the same table as those who come back.
//! - A caller that posts in a channel waits for its turn there, and hands it on afterwards. The
//!   queue has no task of its own and takes no memory when nobody waits. The limiter alone
//!   would serve one busy author before all others.
//! - An answer that is not given in time is deferred by the conversation itself, and not by each
//!   command: how far it has come is known in one place.
//! - All role calls pass one gate in the order in which they came, instead of a worker with a
//!   queue: a level-up waits for one call of a verification, not for its end.
//! - Who may do what is told by the guild's owner and roles, which events keep current and REST
//!   where there are none ([`discord::known_guild`]); what is done to roles is decided on what
//!   REST says in that moment.
//! - A name in the settings is pinned to the one role that bears it ([`discord::right_roles`]).
//!   When that role is deleted, the only other of its name takes its place, and the council is
//!   told: to make one takes Manage Roles. An id in the settings means its role only.
//! - What the council's channel shows is told by the database, and Discord is not asked, so
//!   that the same problems cost no call. What people delete there is heard from the gateway;
//!   a message deleted while nobody listened is posted anew only when its problem changes.
//! - A profile's short form has 32 bits for each field, and says what is unknown: what shows
//!   only some of them is compared as well.
//! - An event may leave a field out whether it is empty or not. Such an event takes no name and
//!   no avatar away: it makes the bot ask for that member, once.
//! - Failed copies are counted at the user and not at the row of the queue: another avatar
//!   begins anew, another name does not.
//! - A copy that was relied upon and did not come up while the whole channel was read is lost;
//!   one of them is asked for by itself first, since a channel that may not be read looks empty.
//! - Of many copies that nobody points to only those are deleted whose users have newer ones: a
//!   wrong database must not empty a channel that nobody could fill again.
//! - A copy's nonce is the version of its row in the queue: the same avatar, chosen again, is
//!   another copy, and the same copy, posted again after a crash, is not.
//! - Links and orphans are one reading, once a day at least and before the first link expires.
//!   How long links live is read from them.
//! - `fixtures/levels.json` is in Django's format as well: one reader for all fixtures.
//! - Level names are chosen once for each database, and only by `wall_e run`: `migrate` fills in the
//!   levels alone, so that an import may still bring names before the first start.

pub mod app;
pub mod backoff;
pub mod check;
pub mod commands;
pub mod config;
pub mod discord;
pub mod environment;
pub mod error;
pub mod import;
pub mod job;
pub mod jobs;
pub mod leveling;
pub mod listeners;
pub mod output;
pub mod profiles;
pub mod roles;
pub mod store;
pub mod text_file;
pub mod xp;
