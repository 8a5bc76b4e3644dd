//! Profiles and avatars: everyone keeps a current name and a picture that loads, also those
//! who left, and those whose account is no more.
//!
//! What is seen of a user is compared with what is known; a difference is queued, stored, and
//! its picture copied. Nobody is looked up to learn what an event has said already: only where
//! it leaves open whether something that is known is gone.

mod avatar_link_renewal;
mod avatar_mirror;
mod breaker;
mod clock;
mod failure;
mod fetch;
mod rotating_refresh;
mod sightings;
mod sync;
mod unclear;

pub use avatar_link_renewal::AvatarLinkRenewal;
pub use avatar_mirror::{AvatarMirror, MOST_ATTEMPTS};
pub use rotating_refresh::RotatingRefresh;
pub use sightings::{Register, Sightings};
pub use sync::ProfileSync;
pub use unclear::Unclear;
