//! An engine by itself, without a bot around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;
use tokio::sync::Notify;
use wall_e::leveling::{Levels, Standing, UserId, XpRules};
use wall_e::store::user_point::SavedUser;
use wall_e::store::{self, Database, lease, user_point};
use wall_e::xp::{AwardRules, EligibleMessage, Engine, EngineHandles, XpCache, recompute};

/// The days of the engines here.
pub const ZONE: Tz = Tz::UTC;

/// An engine that owns the database and does not run yet, and the cache that it fills.
pub async fn engine(store: &Database) -> (Engine, EngineHandles, Arc<XpCache>) {
    let claimed = lease::claim_if_free(store)
        .await
        .unwrap()
        .expect("nobody holds it");
    let cache = XpCache::load(store, levels(store).await).await.unwrap();
    let cache = Arc::new(cache);
    let (engine, handles) = Engine::new(
        store.clone(),
        Arc::clone(&cache),
        ZONE,
        claimed.watermark,
        Arc::new(Notify::new()),
    );
    (engine, handles, cache)
}

/// The levels in the database.
pub async fn levels(store: &Database) -> Levels {
    let mut session = store.acquire().await.unwrap();
    store::level::load(&mut session).await.unwrap()
}

/// What everyone has earned.
pub async fn standings(store: &Database) -> BTreeMap<UserId, Standing> {
    let mut found = BTreeMap::new();
    let mut session = store.acquire().await.unwrap();
    let taken = user_point::load_all(&mut session, |row| {
        found.insert(row.user, row.standing);
    })
    .await;
    taken.expect("user_point can be read");
    found
}

/// The rows of users after these messages, if the guild has no rules on XP.
pub fn recompute_without_rules(messages: Vec<EligibleMessage>, levels: &Levels) -> Vec<SavedUser> {
    let rules = AwardRules {
        levels,
        xp_rules: &XpRules::default(),
        zone: ZONE,
    };
    recompute(messages, rules).0
}
