//! Profiles and avatars: everyone keeps a current name and a picture that loads, also those
//! who left, and those whose account is no more.
//!
//! What is seen of a user is compared with what is known; a difference is queued, stored, and
//! its picture copied. Nobody is looked up to learn what an event has said already: only where
//! it leaves open whether something that is known is gone.

mod actives;
mod breaker;
mod clock;
mod copies;
mod failure;
mod links;
mod look_up;
mod lurkers;
mod sightings;
mod tell;
mod unclear;

pub use actives::Actives;
pub use copies::{Copies, MOST_ATTEMPTS};
pub use links::Links;
pub use lurkers::Lurkers;
pub use sightings::{Register, Sightings};
pub use unclear::Unclear;
