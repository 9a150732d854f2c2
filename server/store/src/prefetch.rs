//! Asking for memory before it is needed, without waiting for it.
//!
//! A read would do as well where the processor looks far enough ahead; but it looks ahead some hundred instructions, which
//! is two lookups or three. A prefetch is done as soon as it is asked for, so that the memory's answers to all lookups of
//! a batch overlap.

/// Bytes that memory is read in.
pub(crate) const LINE_BYTES: usize = 64;

/// Asks for the first `lines` lines of `bytes`, as far as there are so many.
#[inline]
pub(crate) fn prefetch(bytes: &[u8], lines: usize) {
    bytes.chunks(LINE_BYTES).take(lines).for_each(|line| ask(&line[0]));
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[expect(unsafe_code, reason = "the instruction takes an address")]
#[inline]
fn ask(byte: &u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and cannot fault, whatever the address; this one is a byte's that is there.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
fn ask(byte: &u8) {
    std::hint::black_box(*byte);
}
