//! The integration tests, in one binary: the real bot as a process, a real
//! Postgres, and a Discord that runs on this machine.
//!
//! `support` starts things; every other file is a feature.

mod adjustments;
mod answers;
mod avatars;
mod bans;
mod catch_up;
mod channel_access;
mod check;
mod chosen_names;
mod connection;
mod council;
mod deploy;
mod engine;
mod future_ids;
mod gateway;
mod help;
mod import;
mod joining;
mod late_history;
mod late_lines;
mod level_names;
mod level_ups;
mod lifecycle;
mod links;
mod locks;
mod lurkers;
mod moderators;
mod name_removal;
mod names;
mod odd_payloads;
mod outages;
mod plans;
mod postgres;
mod privacy;
mod profiles;
mod rank;
mod ranks;
mod reach;
mod recount;
mod rest;
mod rights;
mod role_rewards;
mod roles;
mod roles_store;
mod settings;
mod support;
mod tidy;
mod time;
mod verification;
mod xp;
mod xp_records;
mod xp_rules;
