//! The bits that are set in a bitmap.

/// The places of the bits that are set among so many, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Places<'a> {
    bytes: std::iter::Enumerate<std::slice::Iter<'a, u8>>,
    count: usize,
    /// What is still to be told of a byte, and the place of its first bit.
    rest: u8,
    base: usize,
    left: usize,
}

impl<'a> Places<'a> {
    /// The bits behind the last place do not count.
    pub(crate) fn of(bitmap: &'a [u8], count: usize) -> Self {
        let bytes = bitmap.iter().enumerate();
        let ones =
            |(index, byte): (usize, &u8)| masked(*byte, index * 8, count).count_ones() as usize;
        let left = bytes.clone().map(ones).sum();
        Self { bytes, count, rest: 0, base: 0, left }
    }
}

impl Iterator for Places<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.rest == 0 {
            let (index, byte) = self.bytes.next()?;
            self.base = index * 8;
            self.rest = masked(*byte, self.base, self.count);
        }
        let place = self.base + self.rest.trailing_zeros() as usize;
        self.rest &= self.rest - 1;
        self.left -= 1;
        Some(place)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Places<'_> {}

/// The bits of the byte whose first bit has this place.
fn masked(byte: u8, base: usize, count: usize) -> u8 {
    match count.saturating_sub(base) {
        left @ 0..8 => byte & ((1 << left) - 1),
        _ => byte,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_those_of_the_bits_that_are_set() {
        let check = |bitmap: &[u8], count, expect: &[usize]| {
            let places = Places::of(bitmap, count);
            assert_eq!(places.len(), expect.len());
            assert_eq!(places.collect::<Vec<_>>(), expect);
        };
        check(&[], 0, &[]);
        check(&[0, 0], 16, &[]);
        check(&[0b1000_0001, 0, 0b10], 24, &[0, 7, 17]);
        check(&[0xff], 3, &[0, 1, 2]);
        check(&[0xff, 0xff], 8, &[0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
