//! The parts that keep profiles and avatars, without a bot around them.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use discord_sim::Sim;
use tokio::sync::mpsc;
use wall_e::discord::avatar_channel::AvatarChannel;
use wall_e::discord::council::Council;
use wall_e::discord::member_states::MemberStates;
use wall_e::leveling::GuildId;
use wall_e::profiles::{Actives, Copies, CopyState, Links, Lurkers, Unclear};
use wall_e::store::Database;
use wall_e::xp::XpCache;

use super::{cdn, levels, rest};

/// The parts, which share what they share in the bot.
pub struct Parts {
    pub actives: Actives,
    pub links: Links,
    pub lurkers: Lurkers,
    pub xp: Arc<XpCache>,
}

impl Parts {
    /// All of them, which keep copies in the channel of this name.
    pub async fn build(sim: &Sim, database: &Database, channel: &str) -> Self {
        let guild = GuildId::new(sim.guild_id()).expect("an id");
        let rest = rest(sim);
        let xp = XpCache::load(database, levels(database).await).await;
        let xp = Arc::new(xp.expect("user_point can be read"));
        let channel = AvatarChannel::new(rest.clone(), database.clone(), guild, channel.to_owned());
        let channel = Arc::new(channel);
        let council = Council::new(
            rest.clone(),
            database.clone(),
            guild,
            "council".to_owned(),
            None,
        );
        let council = Arc::new(council);
        let (nobody_is_told, _) = mpsc::channel(1);
        let members = MemberStates::new(false, None, nobody_is_told);
        Self {
            actives: Actives {
                database: database.clone(),
                copies: Arc::new(Copies {
                    database: database.clone(),
                    xp: Arc::clone(&xp),
                    rest: rest.clone(),
                    guild,
                    members: members.clone(),
                    cdn: cdn(sim),
                    channel: Arc::clone(&channel),
                    council: Arc::clone(&council),
                    state: CopyState::default(),
                }),
            },
            links: Links {
                database: database.clone(),
                channel,
                council,
                state: Mutex::default(),
            },
            lurkers: Lurkers {
                database: database.clone(),
                xp: Arc::clone(&xp),
                rest,
                guild,
                unclear: Unclear::default(),
                members,
                idle_until: Mutex::default(),
                filled: Mutex::default(),
            },
            xp,
        }
    }
}

/// The simulator's time.
pub fn now(sim: &Sim) -> DateTime<Utc> {
    let millis = i64::try_from(sim.now_ms()).expect("a time");
    DateTime::from_timestamp_millis(millis).expect("a time")
}
