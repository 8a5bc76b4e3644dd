//! Pictures that are made of nothing but their name.
//!
//! The same name gives the same picture on every machine and every day, and it
//! can be told from others by looking at it: five by five mirrored blocks.

use std::io;

use crate::cdn::png;
use crate::members::mix;

const BLOCKS: u32 = 5;
const BACKGROUND: [u8; 3] = [0xF0, 0xF0, 0xF0];

/// The picture of this name, `side` pixels wide and high.
pub(crate) fn draw(name: &str, side: u32) -> io::Result<Vec<u8>> {
    let dice = name
        .bytes()
        .fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    let [.., red, green, blue] = (dice >> 16).to_be_bytes();
    // Dark enough to be seen.
    let colour = [red, green, blue].map(|part| part / 4 * 3);
    let rows: Vec<Vec<u8>> = (0..BLOCKS).map(|y| row(dice, y, side, colour)).collect();
    png::encode(side, |y| &rows[(y * BLOCKS / side) as usize])
}

/// A row of pixels through the blocks `y`.
fn row(dice: u64, y: u32, side: u32, colour: [u8; 3]) -> Vec<u8> {
    let pixel = |x: u32| {
        let block = x * BLOCKS / side;
        let mirrored = block.min(BLOCKS - 1 - block);
        let filled = dice >> (y * 3 + mirrored) & 1 == 1;
        if filled { colour } else { BACKGROUND }
    };
    (0..side).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_apart_by_their_names() {
        let draw = |name, side| draw(name, side).expect("a picture");
        assert_eq!(draw("a", 64), draw("a", 64));
        assert_ne!(draw("a", 64), draw("b", 64));
        assert_eq!(png::dimensions(&draw("a", 256)), Some((256, 256)));
    }
}
