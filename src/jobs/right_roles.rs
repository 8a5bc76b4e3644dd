//! Checks that the roles named in the settings exist and are unambiguous, and tells the council if
//! not. This job changes nobody's rights: each command finds out itself what a setting means.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::discord::channels::council::Notice;
use crate::discord::guild::right_roles::FoundRoles;
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::{RightRoleProblem, RoleEntry, RoleId, escape};

/// Scope of the council's notices about roles in the settings.
const SCOPE: &str = "right-roles";
/// Maximum number of role ids listed in a notice.
const MAX_IDS: usize = 5;

/// The job that compares the settings with the guild's roles.
#[derive(Debug)]
pub struct WatchRightRoles {
    env: Environment,
    /// The problems found in the last run; each is logged only when it appears.
    logged: Mutex<BTreeSet<String>>,
}

impl Job for WatchRightRoles {
    const NAME: &'static str = "right-roles";
    const CADENCE: Duration = Duration::from_mins(1);

    fn wakes(&self) -> Option<Arc<Notify>> {
        Some(self.env.known_guild.changes())
    }

    async fn run_once(&self, _: DateTime<Utc>) -> anyhow::Result<()> {
        self.check().await
    }
}

impl WatchRightRoles {
    /// Uses the environment's guild and settings.
    pub fn new(env: &Environment) -> Self {
        Self {
            env: env.clone(),
            logged: Mutex::default(),
        }
    }

    async fn check(&self) -> anyhow::Result<()> {
        if !self.env.known_guild.is_connected() {
            return Ok(());
        }
        let found = self.env.right_roles.find().await?;
        let notices: Vec<Notice> = found
            .problems
            .iter()
            .map(|problem| self.notice(problem, &found))
            .collect();
        self.log(&notices);
        let moved = self.env.right_roles.take_moved();
        let told = async {
            for (name, role) in &moved {
                let key = format!("role-moved:{name}:{role}");
                self.env.council.say(&key, &self.moved(name, *role)).await?;
            }
            self.env.council.tell(SCOPE, &notices).await
        };
        let told = told.await;
        if told.is_err() {
            // Saying all of them again is safe: Discord ignores repeated nonces.
            self.env.right_roles.put_back_moved(moved);
        }
        told
    }

    fn notice(&self, problem: &RightRoleProblem, found: &FoundRoles) -> Notice {
        let entry = problem.entry();
        let settings = self.settings_of(&entry);
        let (key, text) = match problem {
            RightRoleProblem::Missing(RoleEntry::Id(id)) => (
                id.to_string(),
                format!(
                    "{settings} names the role with the id {id}, but this server has no such role, so it gives nobody \
                     rights. Correct the setting and restart the bot."
                ),
            ),
            RightRoleProblem::Missing(RoleEntry::Name(name)) => (
                name.clone(),
                format!(
                    "{settings} names the role {}, but this server has no role of that name, so it gives nobody rights. \
                     Create the role, or correct the setting and restart the bot.",
                    escape(name)
                ),
            ),
            RightRoleProblem::Ambiguous { name, roles } => (
                name.clone(),
                format!(
                    "{settings} names the role {}, but {} roles have that name (ids {}), so none of them gives rights. \
                     Rename or delete all but one of them, or put the id of the right one into the setting and restart \
                     the bot.",
                    escape(name),
                    roles.len(),
                    ids(roles)
                ),
            ),
            RightRoleProblem::Namesakes { name, role, others } => {
                let called = found.name(*role).unwrap_or(name);
                let called = if called == name {
                    String::new()
                } else {
                    format!(", which is called {} now", escape(called))
                };
                (
                    name.clone(),
                    format!(
                        "{settings} names the role {}. That is the role with the id {role}{called}. {} of the same name \
                         (ids {}) give nobody rights. Rename or delete them, so that nobody mistakes them for it.",
                        escape(name),
                        match others.len() {
                            1 => "Another role".to_owned(),
                            count => format!("{count} other roles"),
                        },
                        ids(others)
                    ),
                )
            }
        };
        Notice {
            key: format!("right-role:{key}"),
            text,
            buttons: None,
        }
    }

    /// What the council is told when another role of the same name takes over the rights.
    fn moved(&self, name: &str, role: RoleId) -> String {
        let settings = self.settings_of(&RoleEntry::Name(name.to_owned()));
        format!(
            "The role {} that {settings} names was deleted. The only other role of that name, with the id {role}, gives \
             its rights from now on. If that is wrong, rename it, or put the id of the right role into the setting and \
             restart the bot.",
            escape(name)
        )
    }

    /// The names of the settings that hold an entry, for a sentence.
    fn settings_of(&self, entry: &RoleEntry) -> String {
        self.env.right_roles.settings().holding(entry).join(" and ")
    }

    fn log(&self, notices: &[Notice]) {
        let texts: BTreeSet<String> = notices.iter().map(|notice| notice.text.clone()).collect();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in texts.difference(&logged) {
            tracing::warn!(problem, "a role named in the settings gives no rights");
        }
        *logged = texts;
    }
}

fn ids(roles: &[RoleId]) -> String {
    let shown: Vec<String> = roles
        .iter()
        .take(MAX_IDS)
        .map(ToString::to_string)
        .collect();
    let more = if roles.len() > MAX_IDS { ", …" } else { "" };
    shown.join(", ") + more
}
