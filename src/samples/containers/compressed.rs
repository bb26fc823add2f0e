//! Compressed files, decompressed within the bound of plain ones.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::LARGEST;
use crate::error::{FileError, Result, SampleError};

/// A way to compress a file.
struct Compression {
    name: &'static str,
    ending: &'static str,
    magic: &'static [u8],
    decompress: fn(&[u8], &mut Vec<u8>) -> io::Result<()>,
}

const COMPRESSIONS: [Compression; 2] = [
    Compression { name: "gzip", ending: ".gz", magic: b"\x1f\x8b", decompress: gzip },
    Compression { name: "Zstandard", ending: ".zst", magic: b"\x28\xb5\x2f\xfd", decompress: zstandard },
];

/// The endings of the names of compressed files.
pub fn endings() -> impl Iterator<Item = &'static str> {
    COMPRESSIONS.iter().map(|compression| compression.ending)
}

/// The name of a file without the ending of its compression.
pub fn name_inside(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    Some(endings().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name))
}

/// The bytes of a file, decompressed if they are compressed.
pub fn decompressed(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let Some(compression) = COMPRESSIONS.iter().find(|kind| bytes.starts_with(kind.magic)) else { return Ok(bytes) };
    let mut out = Vec::new();
    (compression.decompress)(&bytes, &mut out).map_err(|error| {
        let problem = format!("not valid {}: {error}", compression.name);
        SampleError::Malformed { path: path.into(), line: 1, problem }
    })?;
    if out.len() as u64 > LARGEST {
        return Err(FileError::TooLarge { path: path.into(), most: LARGEST }.into());
    }
    Ok(out)
}

fn gzip(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    MultiGzDecoder::new(bytes).take(LARGEST + 1).read_to_end(out).map(|_| ())
}

/// All frames of a file: a stream that was appended to has several.
fn zstandard(mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    while !bytes.is_empty() && out.len() as u64 <= LARGEST {
        let decoder = StreamingDecoder::new(&mut bytes).map_err(io::Error::other)?;
        let left = LARGEST + 1 - out.len() as u64;
        decoder.take(left).read_to_end(out)?;
    }
    Ok(())
}
