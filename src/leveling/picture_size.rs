//! How big a picture is: the avatars that the bot copies.

/// Width and height of an avatar that is fetched, in pixels. Discord scales it.
pub const PICTURE_PIXELS: u32 = 256;
/// The largest accepted picture, in bytes. An avatar of 256 pixels has about 100 KiB.
pub const PICTURE_MAX_BYTES: usize = 1 << 20;
