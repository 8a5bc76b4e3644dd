//! `/verify_roles`: corrects everyone's level roles at once, and shows the progress.

use super::context::{Context, Error, Manual};
use super::progress::ProgressPace;
use super::respond::answer_at;
use crate::discord::messages::reply::Reply;
use crate::leveling::Grouped;
use crate::roles::{ReconcileProgress, Report};

/// Longest explanation of unreachable roles in the answer, in characters; a message may have 2,000.
const MAX_EXPLANATION: usize = 1_200;

/// Put everyone's level roles right now
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators("verify_roles", "verify_roles")
)]
pub(super) async fn verify_roles(ctx: Context<'_>) -> Result<(), Error> {
    let answer = answer_at(ctx, &Reply::text("Roles are being verified.")).await?;
    let (rest, verifications) = (&ctx.data().bot.env.rest, &ctx.data().bot.roles.schedule);
    let made = verifications.run_and_wait();
    tokio::pin!(made);
    let (mut shown, mut pace) = (ReconcileProgress::default(), ProgressPace::start());
    let outcome = loop {
        tokio::select! {
            outcome = &mut made => break outcome,
            () = pace.wait() => {}
        }
        let progress = verifications.progress();
        if std::mem::replace(&mut shown, progress) != progress {
            let reply = Reply::text(say_progress(progress));
            if let Err(error) = answer.rewrite(rest, &reply).await {
                tracing::debug!(%error, "progress could not be shown");
            }
        }
        pace.edited();
    };
    let sentence = outcome.map_or_else(say_failure, |report| say_report(&report));
    answer.complete(rest, &Reply::text(sentence)).await;
    Ok(())
}

fn say_progress(progress: ReconcileProgress) -> String {
    let ReconcileProgress {
        members,
        wrong,
        done,
    } = progress;
    format!(
        "Roles are being verified: {} members read, {} of {} put right.",
        Grouped(members),
        Grouped(done),
        Grouped(wrong)
    )
}

fn say_report(report: &Report) -> String {
    let Report {
        members,
        wrong,
        out_of_reach,
        why_out_of_reach,
        given,
        taken,
        left,
        withheld,
        ..
    } = report;
    let mut sentences = vec![format!(
        "Verified {} members: {} were wrong. Roles given: {}, taken: {}.",
        Grouped(members),
        Grouped(wrong),
        Grouped(given),
        Grouped(taken)
    )];
    if *out_of_reach > 0 {
        let why = why_out_of_reach.join(" ");
        let is_long = why.chars().count() > MAX_EXPLANATION;
        sentences.push(format!(
            "Out of my reach: the roles of {} of them. {}",
            Grouped(out_of_reach),
            if is_long {
                "The council channel says why."
            } else {
                &why
            }
        ));
    }
    if *withheld > 0 {
        sentences.push(format!(
            "{} members would lose roles, so I have asked in the council whether that is right.",
            Grouped(withheld)
        ));
    }
    if *left > 0 {
        sentences.push(format!(
            "{} could not be fixed now. The council channel says why, or the next check fixes them.",
            Grouped(left)
        ));
    }
    sentences.join(" ")
}

fn say_failure(_: String) -> String {
    "I could not check the roles. I will try again by myself; the reason is in the bot's log."
        .to_owned()
}
