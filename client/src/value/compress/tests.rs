//! Compression with the feature, against damage and bombs, and without it.

#[cfg(not(feature = "zstd"))]
mod without {
    use super::super::*;

    #[test]
    fn without_the_feature_values_stay_and_compressed_ones_are_an_error() {
        let value = Bytes::from(vec![b'a'; 1 << 20]);
        for compression in [Compression::default(), Compression::off(), Compression::from_bytes(1)] {
            assert_eq!(compression.compress(value.clone(), 0), (value.clone(), 0));
        }
        assert_eq!(decompress(value.clone(), 7, 100), Ok((value.clone(), 7)));
        assert_eq!(decompress(value, ZSTD, 100), Err(DecompressError::NotBuilt));
        assert_eq!(zstd_compress(b"x"), None);
        let other = DecompressError::TooLarge { bytes: 2, bytes_max: 1 };
        assert_ne!(other, DecompressError::Damaged);
    }
}

#[cfg(feature = "zstd")]
mod with {
    use proptest::prelude::*;

    use super::super::*;
    use crate::value::VALUE_BYTES_MAX;

    const FLAGS: u32 = 0x0100_0007;

    fn compressed(value: &Bytes) -> (Bytes, u32) {
        Compression::from_bytes(1).compress(value.clone(), FLAGS)
    }

    /// As zstd would write it, whatever is saved.
    fn frame(value: &[u8]) -> Bytes {
        zstd_compress(value).expect("memory for a context").into()
    }

    #[test]
    fn large_value_is_stored_smaller_and_comes_back() {
        let value = Bytes::from("the same words again and again, ".repeat(1_000));
        let (stored, flags) = Compression::default().compress(value.clone(), FLAGS);
        assert!(stored.len() < value.len() / 20, "{}", stored.len());
        assert_eq!(flags, FLAGS | ZSTD);
        assert_eq!(decompress(stored, flags, VALUE_BYTES_MAX), Ok((value, FLAGS)));
    }

    #[test]
    fn small_value_stays_as_it_is() {
        let below = Bytes::from(vec![b'a'; BYTES_MIN - 1]);
        assert_eq!(Compression::default().compress(below.clone(), FLAGS), (below, FLAGS));
        let (_, flags) = Compression::default().compress(vec![b'a'; BYTES_MIN].into(), FLAGS);
        assert_eq!(flags, FLAGS | ZSTD);
        let value = Bytes::from(vec![b'a'; 1 << 20]);
        assert_eq!(Compression::off().compress(value.clone(), 0), (value, 0));
    }

    #[test]
    fn value_that_hardly_shrinks_stays_as_it_is() {
        let mut random = 1_u64;
        let noise: Vec<u8> = (0..10_000)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 56) as u8
            })
            .collect();
        assert_eq!(compressed(&noise.clone().into()), (noise.into(), FLAGS));
    }

    #[test]
    fn content_beyond_the_limit_is_refused_before_it_is_allocated() {
        let bomb = frame(&vec![0; VALUE_BYTES_MAX + 1]);
        assert!(bomb.len() < 20_000, "{}", bomb.len());
        let (bytes, bytes_max) = (VALUE_BYTES_MAX as u64 + 1, VALUE_BYTES_MAX);
        assert_eq!(decompress(bomb, ZSTD, bytes_max), Err(DecompressError::TooLarge { bytes, bytes_max }));
    }

    #[test]
    fn second_frame_behind_the_first_is_refused() {
        let one = frame(&[7; 5_000]);
        let two = Bytes::from([one.clone(), one.clone()].concat());
        assert_eq!(decompress(two, ZSTD, VALUE_BYTES_MAX), Err(DecompressError::Damaged));
        let appended = Bytes::from([&one[..], b"tail"].concat());
        assert_eq!(decompress(appended, ZSTD, VALUE_BYTES_MAX), Err(DecompressError::Damaged));
    }

    #[test]
    fn value_of_others_that_only_has_the_flags_is_an_error() {
        assert_eq!(decompress("plain".into(), ZSTD, 100), Err(DecompressError::Damaged));
        assert_eq!(decompress(Bytes::new(), ZSTD, 100), Err(DecompressError::Damaged));
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(DecompressError::NotBuilt.to_string().ends_with("switch it on"));
    }

    #[test]
    fn unknown_form_is_refused() {
        for flags in [0x0020_0000, 0x00f0_0000, RESERVED, RESERVED | ZSTD] {
            assert_eq!(decompress("x".into(), flags, 100), Err(DecompressError::Unknown { flags }));
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back(
            piece in proptest::collection::vec(any::<u8>(), 0..300),
            times in 0..60_usize,
            flags in any::<u32>().prop_map(|flags| flags & !crate::value::flags::STORED_FORM_MASK),
        ) {
            let value = Bytes::from(piece.repeat(times));
            let (stored, marked) = Compression::from_bytes(0).compress(value.clone(), flags);
            prop_assert!(stored.len() <= value.len());
            prop_assert_eq!(decompress(stored, marked, value.len()), Ok((value, flags)));
        }

        /// Whatever was done to a frame: an error, or a value within the limit.
        #[test]
        fn damaged_frame_never_exceeds_the_limit(
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stored = frame(&b"0123456789".repeat(50)).to_vec();
            *at.get_mut(&mut stored) = to;
            stored.truncate(cut.index(stored.len()) + 1);
            if let Ok((value, _)) = decompress(stored.into(), ZSTD, 1_000) {
                prop_assert!(value.len() <= 1_000);
            }
        }

        #[test]
        fn noise_never_panics(stored in proptest::collection::vec(any::<u8>(), 0..200), flags in any::<u32>()) {
            let mut marked = b"\x28\xb5\x2f\xfd".to_vec();
            marked.extend(&stored);
            for stored in [stored, marked] {
                if let Ok((value, _)) = decompress(stored.clone().into(), flags, 4_096) {
                    prop_assert!(value.len() <= 4_096.max(stored.len()));
                }
            }
        }
    }
}
