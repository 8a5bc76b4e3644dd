//! The answer of a command that may take long: progress is shown once it has taken some seconds,
//! and the final answer then takes the place of the progress.

use crate::commands::context::{Context, Error};
use crate::commands::progress::ProgressPace;
use crate::commands::respond::{MessageRef, answer, answer_at, sentence_for};
use crate::discord::messages::reply::Reply;

/// The progress that is shown, if it is yet.
#[derive(Debug, Default)]
pub(super) struct ShownProgress(Option<MessageRef>);

impl ShownProgress {
    /// Waits for `work`, and shows from time to time what `say` says meanwhile.
    pub async fn while_waiting<T>(
        &mut self,
        ctx: Context<'_>,
        work: impl Future<Output = T>,
        say: impl Fn() -> String,
    ) -> T {
        tokio::pin!(work);
        let mut pace = ProgressPace::start();
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = pace.wait() => {}
            }
            self.show(ctx, &Reply::text(say())).await;
            pace.edited();
        }
    }

    async fn show(&mut self, ctx: Context<'_>, reply: &Reply) {
        let shown = match &self.0 {
            Some(message) => {
                let rest = &ctx.data().bot.env.rest;
                message.rewrite(rest, reply).await.map_err(Error::from)
            }
            None => answer_at(ctx, reply).await.map(|message| {
                self.0 = Some(message);
            }),
        };
        if let Err(error) = shown {
            tracing::debug!(error = format!("{error:#}"), "progress could not be shown");
        }
    }

    /// Sends the final answer.
    pub async fn end(self, ctx: Context<'_>, done: Result<Reply, Error>) -> Result<(), Error> {
        let Some(message) = self.0 else {
            return answer(ctx, done?).await;
        };
        let reply = done.unwrap_or_else(|error| {
            let sentence = sentence_for(&error, &ctx.command().name);
            Reply::text(sentence)
        });
        message.complete(&ctx.data().bot.env.rest, &reply).await;
        Ok(())
    }
}
