//! Profiles and avatars: keeps each user's stored name current and their avatar link working, also
//! for users who left the guild. A deleted account keeps its last name and avatar.
//!
//! Each profile that an event shows is compared with the known one. If they differ, the new profile
//! is queued, then stored, and its avatar is copied into a channel of the guild.
//!
//! The bot asks Discord about a single user in three cases only: when an event leaves open whether
//! a known name or avatar is gone ([`Unclear`]), when the CDN no longer has an avatar, and once in
//! two weeks ([`RotatingRefresh`]).

mod avatar_link_renewal;
mod avatar_mirror;
mod breaker;
mod clock;
mod failure;
mod fetch;
mod profile_observer;
mod rotating_refresh;
mod sync;
mod unclear;

pub use avatar_link_renewal::AvatarLinkRenewal;
pub use avatar_mirror::{AvatarMirror, MAX_ATTEMPTS};
pub use profile_observer::{ProfileObserver, ProfileRegister};
pub use rotating_refresh::RotatingRefresh;
pub use sync::ProfileSync;
pub use unclear::Unclear;
