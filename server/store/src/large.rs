//! Large values: in pieces, so that they fit segments, and in segments of pieces, so that readers can keep them.
//!
//! ```text
//!  item   [header key | piece | piece | piece ]          in a segment of items
//!                       u40     │       u40
//!                               v
//!  piece  [hash | length | bytes ...]                    in a segment of pieces
//!          u64    u32
//! ```
//!
//! A piece is live while an item of its hash lists it; nothing in it is ever changed.

use crate::segment::Location;

/// Bytes before a piece's own.
pub(crate) const PIECE_HEADER_BYTES: usize = 12;
/// Bytes of a packed location in a list.
const PLACE_BYTES: usize = Location::BITS as usize / 8;
/// A segment takes this many whole pieces: at most so much of it is left unused at its end.
const PIECES_PER_SEGMENT: usize = 32;
/// The list of a value's pieces takes at most one part in this many of a segment.
pub(crate) const LIST_PART: usize = 4;

/// The most bytes of one piece of a value of `value_bytes`.
pub(crate) fn piece_bytes_max(segment_bytes: usize, value_bytes: usize) -> usize {
    let usual = segment_bytes / PIECES_PER_SEGMENT;
    let pieces = segment_bytes / LIST_PART / PLACE_BYTES;
    let wanted = value_bytes.div_ceil(pieces) + PIECE_HEADER_BYTES;
    wanted.clamp(usual, segment_bytes / 2) - PIECE_HEADER_BYTES
}

/// Bytes of the list of a value's pieces.
pub(crate) fn list_bytes(segment_bytes: usize, value_bytes: usize) -> usize {
    value_bytes.div_ceil(piece_bytes_max(segment_bytes, value_bytes)) * PLACE_BYTES
}

/// Segments that the pieces of a value fill at most, begun ones included.
pub(crate) fn segments_for(segment_bytes: usize, value_bytes: usize) -> usize {
    let piece = piece_bytes_max(segment_bytes, value_bytes);
    let per_segment = segment_bytes / (piece + PIECE_HEADER_BYTES);
    value_bytes.div_ceil(piece).div_ceil(per_segment) + 1
}

/// Writes a piece.
pub(crate) fn encode_piece(place: &mut [u8], hash: u64, bytes: &[u8]) {
    place[..8].copy_from_slice(&hash.to_le_bytes());
    place[8..PIECE_HEADER_BYTES].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    place[PIECE_HEADER_BYTES..].copy_from_slice(bytes);
}

/// Hash of the key whose value the piece at the start of `bytes` is part of, and the piece's own bytes.
pub(crate) fn decode_piece(bytes: &[u8]) -> (u64, &[u8]) {
    let (header, rest) = bytes.split_at(PIECE_HEADER_BYTES);
    let (hash, length) = header.split_at(8);
    let hash = u64::from_le_bytes(hash.try_into().expect("8 bytes"));
    let length = u32::from_le_bytes(length.try_into().expect("4 bytes"));
    (hash, &rest[..length as usize])
}

/// Hash of the key and bytes of the piece at the start of `bytes`, if one can be there: what a memory file holds may be
/// damaged.
pub(crate) fn checked_piece(bytes: &[u8]) -> Option<(u64, usize)> {
    let (hash, rest) = bytes.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    let footprint = PIECE_HEADER_BYTES + u32::from_le_bytes(*length) as usize;
    (footprint <= bytes.len()).then(|| (u64::from_le_bytes(*hash), footprint))
}

/// Bytes from one piece to the next.
pub(crate) fn piece_footprint(bytes: &[u8]) -> usize {
    PIECE_HEADER_BYTES + decode_piece(bytes).1.len()
}

/// A list, as a large item carries it for a value.
pub(crate) fn encode_list(places: &[Location]) -> Vec<u8> {
    let mut list = Vec::with_capacity(places.len() * PLACE_BYTES);
    places.iter().for_each(|place| list.extend_from_slice(&place.pack().to_le_bytes()[..PLACE_BYTES]));
    list
}

/// Where the pieces are, in the value's order.
pub(crate) fn places(list: &[u8]) -> impl Iterator<Item = Location> {
    list.chunks_exact(PLACE_BYTES).map(|place| {
        let mut packed = [0; 8];
        packed[..PLACE_BYTES].copy_from_slice(place);
        Location::unpack(u64::from_le_bytes(packed))
    })
}

/// A piece of the list moved.
pub(crate) fn replace(list: &mut [u8], from: Location, to: Location) {
    let from = from.pack().to_le_bytes();
    let mut places = list.chunks_exact_mut(PLACE_BYTES);
    if let Some(place) = places.find(|place| **place == from[..PLACE_BYTES]) {
        place.copy_from_slice(&to.pack().to_le_bytes()[..PLACE_BYTES]);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        PIECE_HEADER_BYTES, decode_piece, encode_list, encode_piece, list_bytes, piece_bytes_max, places,
        replace, segments_for,
    };
    use crate::segment::Location;

    #[test]
    fn list_comes_back_as_written_and_follows_moves() {
        let places_in: Vec<_> = (0..9).map(|n| Location { segment: n << 17, offset: 262_143 - n }).collect();
        let mut list = encode_list(&places_in);
        assert_eq!(list.len(), 9 * 5);
        assert_eq!(places(&list).collect::<Vec<_>>(), places_in);
        let to = Location { segment: 1, offset: 5 };
        replace(&mut list, places_in[4], to);
        assert_eq!((places(&list).nth(4), places(&list).nth(5)), (Some(to), Some(places_in[5])));
    }

    #[test]
    fn piece_comes_back_as_written() {
        let mut bytes = [0; PIECE_HEADER_BYTES + 3];
        encode_piece(&mut bytes, u64::MAX - 1, b"abc");
        assert_eq!(decode_piece(&bytes), (u64::MAX - 1, &b"abc"[..]));
    }

    #[test]
    fn pieces_are_few_and_fit_segments() {
        for (segment, value) in [(4 << 10, 256 << 10), (64 << 10, 16 << 20), (256 << 10, 512 << 20)] {
            let piece = piece_bytes_max(segment, value) + PIECE_HEADER_BYTES;
            assert!(piece <= segment / 2);
            assert!(list_bytes(segment, value) <= segment / 4, "{segment} {value}");
            assert!(segments_for(segment, value) * segment < value + value / 8 + 2 * segment);
        }
        assert_eq!(piece_bytes_max(64 << 10, 20_000), (2 << 10) - PIECE_HEADER_BYTES);
    }
}
