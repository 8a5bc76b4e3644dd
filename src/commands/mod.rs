//! The commands: one visible list, one file each, prefix and slash from one function.
//!
//! A command answers through [`respond::answer`], or fails with a
//! [`UserError`](crate::error::UserError) for the person, or with anything else for the log.

mod adjust_xp;
mod adjustment;
mod args;
mod autocomplete;
mod components;
mod context;
mod dispatch;
mod help;
mod interactions;
mod level_names;
mod levels;
mod pages;
mod privacy;
mod profile_queue;
mod progress;
mod rank;
mod ranks;
mod rate_limit;
mod recount;
mod reset_attempts;
mod reset_profiles;
mod resolve_user;
mod respond;
pub mod rights;
mod role_rewards;
mod verify_roles;
mod xp_log;
mod xp_rules;

use poise::serenity_prelude::Permissions;

pub(crate) use context::Command;
pub use context::Data;
use context::manual;
pub use dispatch::Commands;
pub use rate_limit::RateLimits;
use rights::Right;

/// All commands, in the order in which `.help` lists them.
pub(crate) fn all() -> Vec<Command> {
    let mut commands = vec![
        rank::rank(),
        ranks::ranks(),
        recount::recount(),
        privacy::hide_xp(),
        privacy::show_xp(),
        help::help(),
        levels::levels(),
        level_names::set_level_name::set_level_name(),
        level_names::remove_level_name::remove_level_name(),
        role_rewards::role_rewards(),
        adjust_xp::give_xp(),
        adjust_xp::set_xp(),
        xp_log::xp_log(),
        xp_rules::no_xp::no_xp(),
        xp_rules::no_xp::earn_xp(),
        xp_rules::xp_multiplier::xp_multiplier(),
        xp_rules::list::xp_rules(),
        verify_roles::verify_roles(),
        profile_queue::profile_queue(),
        reset_attempts::reset_attempts(),
        reset_profiles::reset_profiles(),
    ];
    for command in &mut commands {
        let right = manual(command).map_or(Right::Anyone, |manual| manual.right);
        command.default_member_permissions = shown_to(right);
    }
    commands
}

/// Discord shows a slash command to members with these permissions, unless an administrator of
/// the guild decides otherwise. Who may run it is checked when it is run.
fn shown_to(right: Right) -> Permissions {
    match right {
        Right::Anyone => Permissions::empty(),
        Right::Moderator | Right::Privacy => Permissions::MANAGE_MESSAGES,
        Right::Operator => Permissions::MANAGE_GUILD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use context::Manual;

    #[test]
    fn every_command_is_described_and_has_a_manual() {
        for command in all() {
            assert!(command.description.is_some(), "{}", command.name);
            let Manual {
                usage,
                example,
                right,
                ..
            } = manual(&command).expect("a manual");
            let shown_to_all = command.default_member_permissions.is_empty();
            assert_eq!(shown_to_all, right == Right::Anyone, "{}", command.name);
            for line in [usage, example] {
                assert_eq!(
                    line.split(' ').next(),
                    Some(command.name.as_ref()),
                    "{line}"
                );
            }
        }
    }
}
