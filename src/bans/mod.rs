//! Who is banned from the guild. Banned users keep their XP but are on no board.
//!
//! Events tell of each ban. At the start of a session [`ReadBanList`] reads Discord's list of bans,
//! which also shows what happened while the bot was away. [`BanRegister`] alone writes: first the
//! database, then the cache.

mod ban_list;
mod ban_register;

pub use ban_list::ReadBanList;
pub use ban_register::{BanNews, BanObserver, BanRegister};
