//! `wall_e verify-roles`: a verification from the command line, or only what it would change.
//!
//! Speaks to nobody but whoever typed it: the council is left to the bot.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::verify::{Difference, Found, Progress, Report, VerifyRoles};
use crate::discord::time::DiscordTime;
use crate::leveling::RoleId;
use crate::leveling::level_roles::{Renamed, Step, Trouble};

/// Verifies, or only looks on a `dry_run`; prints what was found or done.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub async fn by_hand(verify: &VerifyRoles, dry_run: bool, as_json: bool) -> anyhow::Result<()> {
    if dry_run {
        let found = verify.look().await?;
        println!(
            "{}",
            if as_json {
                found_as_json(&found)
            } else {
                found_as_table(&found)
            }
        );
    } else {
        let (progress, _nobody_looks) = watch::channel(Progress::default());
        let time = DiscordTime::default();
        time.look(&verify.rest).await;
        let report = verify.run(time.now(), true, &progress).await?;
        println!(
            "{}",
            if as_json {
                report_as_json(&report)
            } else {
                report_as_text(&report)
            }
        );
    }
    Ok(())
}

fn found_as_table(found: &Found) -> String {
    let mut lines = Vec::new();
    for step in &found.steps {
        match step {
            Step::Link { level, role, name } => {
                lines.push(format!("level {level}: link role {role} {name:?}"));
            }
            Step::Follow(renamed) => {
                lines.extend(renamed.iter().map(|Renamed { level, role, name }| {
                    format!("level {level}: role {role} is called {name:?} now")
                }));
            }
            Step::Seen { level } => lines.push(format!("level {level}: its role is in the guild")),
            Step::Create { level, name } => {
                lines.push(format!(
                    "level {level}: create the role {name:?}, for whoever has reached the level"
                ));
            }
        }
    }
    lines.extend(
        found
            .troubles
            .iter()
            .map(|trouble| format!("for a person: {}", word(trouble))),
    );
    if !found.differences.is_empty() {
        lines.push(format!("{:>20}  {:<24}  {}", "user", "give", "take"));
    }
    for Difference { user, plan, .. } in &found.differences {
        lines.push(format!(
            "{user:>20}  {:<24}  {}",
            ids(&plan.add),
            ids(&plan.remove)
        ));
    }
    if found.withheld > 0 {
        lines.push(format!(
            "{} members would lose roles: that is many, and waits for a moderator's word.",
            found.withheld
        ));
    }
    if found.out_of_reach > 0 {
        lines.push(format!(
            "{} members lack or hold level roles that the bot can neither give nor take.",
            found.out_of_reach
        ));
    }
    lines.push(format!(
        "{} members, {} of them with wrong roles. Nothing was changed.",
        found.members,
        found.differences.len()
    ));
    lines.join("\n")
}

fn found_as_json(found: &Found) -> String {
    let levels: Vec<_> = found.steps.iter().flat_map(step_as_json).collect();
    let text = |roles: &[RoleId]| roles.iter().map(ToString::to_string).collect::<Vec<_>>();
    let members: Vec<_> = found
        .differences
        .iter()
        .map(|Difference { user, plan, .. }| {
            json!({ "user": user.to_string(), "give": text(&plan.add), "take": text(&plan.remove) })
        })
        .collect();
    let troubles: Vec<_> = found.troubles.iter().map(word).collect();
    json!({
        "members": found.members,
        "levels": levels,
        "troubles": troubles,
        "withheld": found.withheld,
        "out_of_reach": found.out_of_reach,
        "differences": members,
    })
    .to_string()
}

/// A level each.
fn step_as_json(step: &Step) -> Vec<Value> {
    match step {
        Step::Link { level, role, name } => {
            vec![json!({ "level": level.0, "do": "link", "role": role.to_string(), "name": name })]
        }
        Step::Follow(renamed) => renamed
            .iter()
            .map(|Renamed { level, role, name }| {
                json!({ "level": level.0, "do": "rename", "role": role.to_string(), "name": name })
            })
            .collect(),
        Step::Seen { level } => vec![json!({ "level": level.0, "do": "remember" })],
        Step::Create { level, name } => {
            vec![json!({ "level": level.0, "do": "create", "name": name })]
        }
    }
}

fn report_as_text(report: &Report) -> String {
    let done = format!(
        "{} members, {} of them with wrong roles: {} roles given, {} taken, {} members left, {} who keep roles until a \
         moderator says so.",
        report.members, report.wrong, report.given, report.taken, report.left, report.withheld
    );
    if report.out_of_reach == 0 {
        return done;
    }
    let why = report.why_out_of_reach.join(" ");
    format!(
        "{done} {} members lack or hold level roles that are out of reach. {why}",
        report.out_of_reach
    )
}

fn report_as_json(report: &Report) -> String {
    json!({
        "members": report.members,
        "wrong": report.wrong,
        "out_of_reach": report.out_of_reach,
        "given": report.given,
        "taken": report.taken,
        "left": report.left,
        "withheld": report.withheld,
    })
    .to_string()
}

fn ids(roles: &[RoleId]) -> String {
    if roles.is_empty() {
        return "-".to_owned();
    }
    let ids: Vec<_> = roles.iter().map(ToString::to_string).collect();
    ids.join(",")
}

fn word(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Missing { level, name } => {
            format!("the role {name:?} of level {level} is missing")
        }
        Trouble::OutOfReach { level, name, .. } => {
            format!("the role {name:?} of level {level} does not stand below the bot's")
        }
        Trouble::Managed { level, name, .. } => {
            format!("the role {name:?} of level {level} belongs to an integration")
        }
        Trouble::Moderates { level, name, .. } => {
            format!("the role {name:?} of level {level} has moderation permissions")
        }
        Trouble::GivesRights { level, name } => {
            format!("the role {name:?} of level {level} gives rights")
        }
        Trouble::Several { level, name, count } => {
            format!("there are {count} roles called {name:?}, as level {level} is")
        }
        Trouble::BelongsTo {
            level, name, other, ..
        } => {
            format!("the role {name:?} of level {level} belongs to level {other}")
        }
    }
}
