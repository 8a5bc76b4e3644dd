//! `wall_e verify-roles`: reconciles everyone's roles, or with a dry run prints what would change.
//!
//! Prints to the terminal only. Only the running bot reports problems to the council.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::reconcile::{Difference, Findings, ReconcileProgress, Report, RoleReconciler};
use super::role_problems::clause;
use crate::leveling::level_roles::{Renamed, Step};
use crate::leveling::{Grouped, Quoted, RoleId};
use crate::output::print_line;

/// Reconciles everyone's roles and prints the report. With `dry_run` it changes nothing and prints
/// what a reconcile would change.
pub async fn run_cli(
    reconciler: &RoleReconciler,
    dry_run: bool,
    as_json: bool,
) -> anyhow::Result<()> {
    let time = &reconciler.env.time;
    time.look(&reconciler.env.rest).await;
    let answer = if dry_run {
        let found = reconciler.look(time.timestamp()).await?;
        if as_json {
            found_as_json(&found)
        } else {
            found_as_text(&found)
        }
    } else {
        let (progress, _nobody_looks) = watch::channel(ReconcileProgress::default());
        let report = reconciler.run(time.now(), true, &progress).await?;
        if as_json {
            report_as_json(&report)
        } else {
            report_as_text(&report)
        }
    };
    Ok(print_line(&answer)?)
}

/// Every change on a line of its own, then the totals.
fn found_as_text(found: &Findings) -> String {
    let mut lines: Vec<String> = found.steps.iter().map(ToString::to_string).collect();
    lines.extend(
        found
            .troubles
            .iter()
            .map(|trouble| format!("needs attention: {}", clause(trouble))),
    );
    let roles = |roles: &[RoleId]| {
        let named = roles.iter().map(|role| match found.role_names.get(role) {
            Some(name) => format!("{} ({role})", Quoted(name)),
            None => role.to_string(),
        });
        named.collect::<Vec<_>>().join(", ")
    };
    for Difference {
        user, name, plan, ..
    } in &found.differences
    {
        let changes = [("give", &plan.add), ("take", &plan.remove)];
        let changes = changes.iter().filter(|(_, ids)| !ids.is_empty());
        let changes: Vec<_> = changes
            .map(|(verb, ids)| format!("{verb} {}", roles(ids)))
            .collect();
        let name = name.as_deref().unwrap_or("no name");
        lines.push(format!("{} ({user}): {}", Quoted(name), changes.join("; ")));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.extend(per_role(found));
    if found.withheld > 0 {
        lines.push(format!(
            "{} members would lose roles. That is many, so it waits for a moderator's confirmation in the council.",
            Grouped(found.withheld)
        ));
    }
    if found.out_of_reach > 0 {
        lines.push(format!(
            "{} members have wrong level roles that the bot cannot give or take.",
            Grouped(found.out_of_reach)
        ));
    }
    lines.push(format!(
        "{} members, {} of them with wrong roles. Nothing was changed.",
        Grouped(found.members),
        Grouped(found.differences.len())
    ));
    lines.join("\n")
}

/// How many members would get and lose each role.
fn per_role(found: &Findings) -> impl Iterator<Item = String> {
    let mut counts: BTreeMap<RoleId, (usize, usize)> = BTreeMap::new();
    for Difference { plan, .. } in &found.differences {
        for role in &plan.add {
            counts.entry(*role).or_default().0 += 1;
        }
        for role in &plan.remove {
            counts.entry(*role).or_default().1 += 1;
        }
    }
    counts.into_iter().map(|(role, (given, taken))| {
        let name = found
            .role_names
            .get(&role)
            .map_or("no name", String::as_str);
        format!(
            "{} ({role}): {} would get it, {} would lose it.",
            Quoted(name),
            Grouped(given),
            Grouped(taken)
        )
    })
}

fn found_as_json(found: &Findings) -> String {
    let levels: Vec<_> = found.steps.iter().flat_map(step_as_json).collect();
    let text = |roles: &[RoleId]| roles.iter().map(ToString::to_string).collect::<Vec<_>>();
    let members: Vec<_> = found
        .differences
        .iter()
        .map(|Difference { user, name, plan, .. }| {
            json!({ "user": user.to_string(), "name": name, "give": text(&plan.add), "take": text(&plan.remove) })
        })
        .collect();
    let troubles: Vec<_> = found.troubles.iter().map(clause).collect();
    let concerned = found.differences.iter();
    let concerned = concerned.flat_map(|member| member.plan.add.iter().chain(&member.plan.remove));
    let names: BTreeMap<_, _> = concerned
        .filter_map(|role| Some((role.to_string(), found.role_names.get(role)?)))
        .collect();
    json!({
        "members": found.members,
        "levels": levels,
        "troubles": troubles,
        "withheld": found.withheld,
        "out_of_reach": found.out_of_reach,
        "differences": members,
        "roles": names,
    })
    .to_string()
}

/// One JSON object for each level that the step changes.
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
        "{} members, {} of them with wrong roles: {} roles given, {} taken. {} members could not be fixed, {} keep \
         roles until a moderator confirms their removal.",
        Grouped(report.members),
        Grouped(report.wrong),
        Grouped(report.given),
        Grouped(report.taken),
        Grouped(report.left),
        Grouped(report.withheld)
    );
    if report.out_of_reach == 0 {
        return done;
    }
    let why = report.why_out_of_reach.join(" ");
    format!(
        "{done} {} members have wrong level roles that the bot cannot give or take. {why}",
        Grouped(report.out_of_reach)
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
