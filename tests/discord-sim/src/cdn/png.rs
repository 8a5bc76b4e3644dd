//! PNG files, as far as they are needed here: square pictures without
//! transparency are written, and of others the size is read.

use std::io::{self, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Eight bits a channel, red, green and blue, not interlaced.
const FORMAT: [u8; 5] = [8, 2, 0, 0, 0];
/// The bytes before the picture's width.
const BEFORE_WIDTH: usize = 16;

/// Writes a picture of `side` rows, each of `side` times red, green and blue.
pub(crate) fn encode<'a>(side: u32, row: impl Fn(u32) -> &'a [u8]) -> io::Result<Vec<u8>> {
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    for y in 0..side {
        // Each row begins with its filter: none.
        pixels.write_all(&[0])?;
        pixels.write_all(row(y))?;
    }
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &FORMAT].concat();
    let mut png = SIGNATURE.to_vec();
    chunk(&mut png, *b"IHDR", &header);
    chunk(&mut png, *b"IDAT", &pixels.finish()?);
    chunk(&mut png, *b"IEND", &[]);
    Ok(png)
}

/// A picture's width and height, if it is a PNG file.
pub(crate) fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let begins = bytes.starts_with(SIGNATURE) && bytes.get(12..BEFORE_WIDTH)? == b"IHDR";
    let number = |at: usize| {
        let four = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(four.try_into().ok()?))
    };
    let found = (number(BEFORE_WIDTH)?, number(BEFORE_WIDTH + 4)?);
    begins.then_some(found)
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(data);
    png.extend(length.to_be_bytes());
    png.extend(kind);
    png.extend(data);
    png.extend(crc.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let png = encode(2, |y| if y == 0 { &[1; 6] } else { &[2; 6] }).expect("a picture");
        assert_eq!(dimensions(&png), Some((2, 2)));
        assert_eq!(dimensions(&png[..20]), None);
        assert_eq!(dimensions(b"PNG"), None);
        let data = &png[8 + 25..];
        let length = u32::from_be_bytes(data[..4].try_into().expect("four bytes")) as usize;
        let mut pixels = Vec::new();
        flate2::read::ZlibDecoder::new(&data[8..8 + length])
            .read_to_end(&mut pixels)
            .expect("zlib");
        assert_eq!(pixels, [0, 1, 1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2]);
        // The checksum that ends every PNG file.
        assert_eq!(png[png.len() - 4..], [0xAE, 0x42, 0x60, 0x82]);
    }
}
