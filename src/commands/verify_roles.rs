//! `/verify_roles`: puts everyone's level roles right now, and shows how far it is.

use std::time::Duration;

use super::answering::{Place, answer_at};
use super::rights::Right;
use super::{Context, Data, Error, Manual, defer};
use crate::discord::reply::Reply;
use crate::roles::{Progress, Report};

/// How often the answer is rewritten; Discord allows five in five seconds.
const REWRITE: Duration = Duration::from_secs(3);

/// Put everyone's level roles right now
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual { usage: \"verify_roles\", example: \"verify_roles\", right: Right::Moderator }"
)]
pub(super) async fn verify_roles(ctx: Context<'_>) -> Result<(), Error> {
    defer(ctx).await?;
    let place = answer_at(ctx, &Reply::text("Roles are being verified.")).await?;
    let (data, verifications) = (ctx.data(), &ctx.data().setting.verifications);
    let made = verifications.made();
    tokio::pin!(made);
    let mut shown = Progress::default();
    let outcome = loop {
        tokio::select! {
            outcome = &mut made => break outcome,
            () = tokio::time::sleep(REWRITE) => {}
        }
        let progress = verifications.progress();
        if std::mem::replace(&mut shown, progress) != progress {
            rewrite(data, place, say_progress(progress)).await;
        }
    };
    rewrite(
        data,
        place,
        outcome.map_or_else(say_failure, |report| say_report(&report)),
    )
    .await;
    Ok(())
}

async fn rewrite(data: &Data, place: Option<Place>, sentence: String) {
    let Some(Place { channel, message }) = place else {
        return;
    };
    let reply = Reply::text(sentence);
    if let Err(error) = reply.put_in_place_of(&data.rest, channel, message).await {
        tracing::debug!(%error, "how far the verification is could not be shown");
    }
}

fn say_progress(progress: Progress) -> String {
    let Progress {
        members,
        wrong,
        done,
    } = progress;
    format!("Roles are being verified: {members} members read, {done} of {wrong} put right.")
}

fn say_report(report: &Report) -> String {
    let Report {
        members,
        wrong,
        given,
        taken,
        left,
        withheld,
        ..
    } = report;
    let mut sentences = vec![format!(
        "Verified {members} members: {wrong} were wrong. Roles given: {given}, taken: {taken}."
    )];
    if *withheld > 0 {
        sentences.push(format!(
            "{withheld} members would lose roles; the council is asked whether that is right."
        ));
    }
    if *left > 0 {
        sentences.push(format!(
            "{left} could not be put right now; the council says why, or the next verification does it."
        ));
    }
    sentences.join(" ")
}

fn say_failure(_: String) -> String {
    "Roles could not be verified now; it is tried again by itself, and the reason is in the bot's log.".to_owned()
}
