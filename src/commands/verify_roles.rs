//! `/verify_roles`: corrects everyone's level roles at once, and shows the progress.

use super::context::{Context, Data, Error, Manual};
use super::progress::ProgressPace;
use super::respond::{MessageRef, answer_at};
use crate::discord::messages::reply::Reply;
use crate::leveling::Grouped;
use crate::roles::{ReconcileProgress, Report};

const FAILED: &str =
    "I could not check the roles. I will try again by myself; the reason is in the bot's log.";
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
    let sentence = match follow(ctx.data(), &answer, "").await {
        Ok(report) => say_report(&report),
        Err(_) => FAILED.to_owned(),
    };
    answer
        .complete(&ctx.data().bot.env.rest, &Reply::text(sentence))
        .await;
    Ok(())
}

/// Requests a reconcile of everyone and waits for it. Meanwhile shows the progress in `answer`,
/// after the words `before`.
pub(super) async fn follow(
    data: &Data,
    answer: &MessageRef,
    before: &str,
) -> Result<Report, String> {
    let (rest, schedule) = (&data.bot.env.rest, &data.bot.roles.schedule);
    let made = schedule.run_and_wait();
    tokio::pin!(made);
    let (mut shown, mut pace) = (ReconcileProgress::default(), ProgressPace::start());
    loop {
        tokio::select! {
            outcome = &mut made => return outcome,
            () = pace.wait() => {}
        }
        let progress = schedule.progress();
        if std::mem::replace(&mut shown, progress) != progress {
            let reply = Reply::text(format!("{before}{}", say_progress(progress)));
            if let Err(error) = answer.rewrite(rest, &reply).await {
                tracing::debug!(%error, "progress could not be shown");
            }
        }
        pace.edited();
    }
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

/// What a reconcile did, and what it could not do.
pub(super) fn say_report(report: &Report) -> String {
    let Report {
        members,
        wrong,
        out_of_reach,
        why_out_of_reach,
        given,
        taken,
        left,
        withheld,
        kept,
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
    if *kept > 0 {
        sentences.push(format!(
            "{} keep surplus roles until I have counted the messages from while I was away.",
            Grouped(kept)
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
