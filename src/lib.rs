//! wall_e, a self-hosted Discord leveling bot: the map of the crate.
//!
//! # Bird's-eye view
//!
//! One process and one Postgres serve one guild. Messages earn XP, XP brings levels, and levels
//! bring roles. Pure rules decide, one task writes XP, one transaction saves it, and Discord is
//! called after the commit. Everything may happen twice or late: a message that arrives twice
//! counts once, and what the bot missed it reads from the history, with the same result.
//!
//! # Entry points
//!
//! - `main.rs` parses the command line and calls [`app`], which has a function for each subcommand.
//!   [`app::run`] builds one [`bot`], starts everything, and ends it in order.
//! - Discord's events arrive in [`listeners`], one file for each event; commands and buttons go on
//!   to [`commands`], one file for each command.
//! - Work that comes round by itself is a [`job`]; [`jobs`] lists all of them.
//!
//! # Code map
//!
//! In reading order: each module uses only those above it.
//!
//! - [`leveling`] is the rules, pure: ids, the curve, what a message earns, ranks, role plans.
//! - [`backoff`] computes pauses, [`job`] defines what a job is, [`text_file`] reads files in the
//!   encodings that people's tools write, [`output`] prints what a subcommand found.
//! - [`store`] is Postgres: one file for each table, and the [lease](store::lease) on all of them.
//! - [`error`] sorts errors by who is told; [`exit_code`] has the codes with which the process
//!   ends; [`xp`] has the cache that everyone reads, and the engine, the one task that writes XP.
//! - [`config`] reads flags and the environment.
//! - [`discord`] is the gateway connection, events in our own types, the REST client, and what the
//!   bot does with roles, messages and channels. It knows no XP. [`import`] fills a database: levels,
//!   their names, another bot's dump.
//! - [`guild_settings`] is what moderators have set with commands.
//! - [`message_gate`] keeps messages from the future away from the engine. [`environment`] holds
//!   what nearly everything needs, as one value.
//! - [`bans`] keeps those who are banned off the board. [`profiles`] keeps everyone's name and
//!   avatar current.
//! - [`roles`] gives and takes level roles.
//! - [`bot`] holds the environment and what only the running bot has, as one value.
//! - [`commands`] answers people; [`check`] compares a database with the messages that it counted.
//! - [`listeners`] reacts to events; [`jobs`] does what is due.
//! - [`app`] puts all of it together.
//!
//! # How a message becomes a level
//!
//! `listeners/message` → [`message_gate`] → [`xp::Inbox`] → [`xp::Engine`] → one transaction →
//! [`xp::XpCache`] and the table `outbox` → `jobs/level_ups` → a line in the channel.
//!
//! A new session, an outage of Discord and a full inbox are *gaps*. The engine stops at its
//! frontier. `jobs/catch_up` reads the history from there, and the engine merges it with what
//! arrived live, in order of message ids and in bounded batches. The level-up lines come at the
//! end, one for each member.
//!
//! A channel that fails while Discord answers otherwise is set aside: the transaction that moves
//! the frontier past it records what is missing and what was counted meanwhile.
//! `jobs/late_history` retries it, and the engine adds the difference between all those messages
//! and the counted ones.
//!
//! The guild's rules decide at what rate a message earns. The rules, where channels stand and who
//! holds the roles that rules name are rows that hold for the messages after one id
//! ([`leveling::xp_rules`]). Events and lists that change them pass through the same inbox, in
//! order with the messages.
//!
//! A bot that stops in order leaves its gateway session in the database
//! ([`store::gateway_session`]). The next bot takes it together with the lease and resumes, so
//! there is no gap.
//!
//! # How a profile becomes current
//!
//! An event, or a member list that is read anyway, shows a profile. [`profiles`] compares it with
//! the fingerprint in the cache. If it differs, the transaction that saves its author's XP saves
//! it too; a member who earns nothing gets a row in the table `updated_user`.
//! [`profiles::ProfileSync`] works that queue off: names in bulk, then avatars, each fetched,
//! posted in the bot's own channel, and pointed to in one transaction before the old copy is
//! deleted. [`profiles::RotatingRefresh`] looks everyone up once in two weeks, and
//! [`profiles::AvatarLinkRenewal`] renews the links to the copies before they expire.
//!
//! # Invariants
//!
//! `tests/it/tidy.rs` checks those that a program can check.
//!
//! XP:
//!
//! - **XP is a function of the guild's messages and of what is recorded beside them**: rules and
//!   adjustments. [`leveling::award`] takes the message's id, its rate and its author's standing,
//!   and uses no clock and no dice.
//! - **One writer.** Only the engine writes XP, and only while the watermark holds its epoch: the
//!   database refuses a bot that was replaced, however late it writes.
//! - **A batch counts exactly once.** Its transaction moves the watermark on from the batch before
//!   it. After a COMMIT of unknown outcome the bot reads the watermark and assumes nothing.
//! - **The frontier never passes a message that was neither applied nor recorded as missing.**
//! - **What Postgres loses is read again.** If the watermark stands further back than the bot left
//!   it (a failover, a restore), the bot starts over from it, in the same process.
//! - **Commit first, show after.** The cache, the board and Discord learn of XP only once it is
//!   saved.
//! - **People are told the truth.** An adjustment is committed only while its author waits for it.
//!   "Not saved" means that it never will be; where nobody can know, the answer says so.
//! - **One definition of rank**: [`leveling::Board`]. Hidden and banned users are not on it.
//!
//! Members:
//!
//! - **Roles are reconciled.** The bot computes what a member should hold and sends only the
//!   differences. It never touches a role that is not a level role, and it never creates again by
//!   itself what a human deleted.
//! - **Unseen is not empty.** A field that was not shown stays as it is stored, and a list that was
//!   requested before an event never undoes that event.
//! - **One task at a time saves what was observed of a user**, with the user's row locked: an older
//!   observation never overwrites a newer one.
//! - **Nobody loses their picture.** A copy is deleted only when the database points to a newer
//!   one, a link is kept until there is another, and those who are gone keep the last of both.
//! - **Rights are checked where the work is done.** Seeing a command or a button gives no right.
//!
//! Running:
//!
//! - **Discord's time decides.** Ids, links and buttons are compared with [`discord::time`], never
//!   with the machine's clock, and an id from the future is refused wherever it enters.
//! - **Nothing waits where events are handled**: the next event is not read before.
//! - **A gateway session is used once**, and it is left only after everything that it brought is
//!   saved.
//! - **One failing channel, member or image holds up nothing else.**
//! - **Each library stays in its place**: `sqlx` in [`store`]; serenity and poise in [`discord`],
//!   [`listeners`] and [`commands`]; the process's environment in [`config`].
//! - **No secret is printable.** The token and the database's URL are `SecretString`s, a REST
//!   error holds no URL (an interaction's token would be in it), and the process leaves no core
//!   dump.
//!
//! Why some things are not as you would expect is in `docs/decisions/`. How to add a command, a
//! job, a migration or a setting is in `docs/contributing.md`.

pub mod app;
pub mod backoff;
pub mod bans;
pub mod bot;
pub mod check;
pub mod commands;
pub mod config;
pub mod discord;
pub mod environment;
pub mod error;
pub mod exit_code;
pub mod guild_settings;
pub mod import;
pub mod job;
pub mod jobs;
pub mod leveling;
pub mod listeners;
pub mod message_gate;
pub mod output;
pub mod profiles;
pub mod roles;
pub mod store;
pub mod text_file;
pub mod xp;
