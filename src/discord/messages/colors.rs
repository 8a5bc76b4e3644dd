//! The colours of embeds.

/// The rank card and all other informational embeds.
pub const INFO: u32 = 0x00_bf_bd;
