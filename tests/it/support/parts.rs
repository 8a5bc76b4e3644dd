//! The parts that keep profiles and avatars, without a bot around them.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use discord_sim::Sim;
use wall_e::config::RightsSettings;
use wall_e::discord::channels::avatar_channel::AvatarChannel;
use wall_e::discord::channels::council::Council;
use wall_e::discord::guild::known_guild::KnownGuild;
use wall_e::discord::guild::member_states::MemberStates;
use wall_e::discord::guild::right_roles::RightRoles;
use wall_e::discord::time::DiscordTime;
use wall_e::environment::Environment;
use wall_e::guild_settings::GuildSettings;
use wall_e::leveling::GuildId;
use wall_e::profiles::{AvatarLinkRenewal, AvatarMirror, ProfileSync, RotatingRefresh, Unclear};
use wall_e::store::Database;
use wall_e::xp::XpCache;

use super::{cdn, levels, rest};

/// The parts, which share what they share in the bot.
pub struct Parts {
    pub actives: ProfileSync,
    pub links: AvatarLinkRenewal,
    pub lurkers: RotatingRefresh,
    pub xp: Arc<XpCache>,
}

impl Parts {
    /// All of them, which keep copies in the channel of this name.
    pub async fn build(sim: &Sim, database: &Database, channel: &str) -> Self {
        let env = environment(sim, database).await;
        let (rest, guild) = (env.rest.clone(), env.guild);
        let channel = AvatarChannel::new(rest, database.clone(), guild, channel.to_owned());
        let channel = Arc::new(channel);
        let copies = AvatarMirror::new(&env, cdn(sim), Arc::clone(&channel));
        Self {
            actives: ProfileSync::new(&env, copies, Arc::default()),
            links: AvatarLinkRenewal::new(&env, channel),
            lurkers: RotatingRefresh::new(&env, Unclear::default()),
            xp: env.xp,
        }
    }
}

/// What jobs work with, where no bot runs.
async fn environment(sim: &Sim, database: &Database) -> Environment {
    let guild = GuildId::new(sim.guild_id()).expect("an id");
    let (rest, name) = (rest(sim), "council".to_owned());
    let xp = XpCache::load(database, levels(database).await).await;
    let known_guild = KnownGuild::new(rest.clone(), guild);
    let (rights, store) = (RightsSettings::default(), database.clone());
    let right_roles = RightRoles::load(rights, known_guild.clone(), store).await;
    let right_roles = right_roles.expect("the pins can be read");
    let settings = GuildSettings::load(database).await;
    Environment {
        guild,
        database: database.clone(),
        xp: Arc::new(xp.expect("user_point can be read")),
        settings: settings.expect("guild_setting can be read"),
        council: Arc::new(Council::new(
            rest.clone(),
            database.clone(),
            guild,
            name,
            right_roles.clone(),
        )),
        rest,
        time: DiscordTime::default(),
        members: MemberStates::new(false, None).0,
        known_guild,
        right_roles,
    }
}

/// The simulator's time.
pub fn now(sim: &Sim) -> DateTime<Utc> {
    let millis = i64::try_from(sim.now_ms()).expect("a time");
    DateTime::from_timestamp_millis(millis).expect("a time")
}
