//! The REST call for the guild's list of bans. Makes no decisions.

use std::collections::BTreeSet;

use serde::Deserialize;
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use crate::discord::payload::UserRef;
use crate::discord::rest::timeouts::CALL_TIMEOUT;
use crate::discord::rest::{Repeat, Rest, RestError};
use crate::leveling::{GuildId, UserId};

/// Bans in one page: Discord's maximum.
const PAGE: usize = 1_000;

/// Lists all banned users, page by page. Takes the permission Ban Members. Fails if any ban cannot
/// be read, because that user would pass for one who is not banned.
pub async fn list(rest: &Rest, guild: GuildId) -> Result<BTreeSet<UserId>, RestError> {
    let mut users = BTreeSet::new();
    let mut after = 0;
    loop {
        let page = rest.call(
            "listing the bans",
            Repeat::Safe,
            CALL_TIMEOUT,
            |http| async move {
                let route = Route::GuildBans {
                    guild_id: guild.into(),
                };
                let query = [("limit", PAGE.to_string()), ("after", after.to_string())];
                let request = Request::new(route, LightMethod::Get).params(Some(query.to_vec()));
                http.fire::<Vec<Ban>>(request).await
            },
        );
        let (page, before) = (page.await?, after);
        for ban in &page {
            let user = UserId::try_from(ban.user.id);
            let user =
                user.map_err(|()| RestError::NotUnderstood("a ban was not understood".to_owned()))?;
            after = after.max(user.get());
            users.insert(user);
        }
        if page.len() < PAGE || after == before {
            return Ok(users);
        }
    }
}

#[derive(Debug, Deserialize)]
struct Ban {
    user: UserRef,
}
