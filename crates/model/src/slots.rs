//! The fields of objects that are being read, until each object is complete: every object gets one
//! allocation of the right size, and its fields are put in order by their places in the type.

use crate::Value;

/// Up to this many fields are put in order without moving them.
const APART: usize = 48;

/// Places and values of the fields of all open objects, the innermost last.
pub(crate) struct Slots(Vec<(u16, Value)>);

impl Slots {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(64))
    }

    /// Where the next object begins.
    pub(crate) fn mark(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn push(&mut self, place: u16, value: Value) {
        self.0.push((place, value));
    }

    /// Pushes a text, made where it stays.
    #[inline]
    pub(crate) fn push_text(&mut self, place: u16, text: &str) {
        self.0.push((place, Value::Null));
        if let Some((_, value)) = self.0.last_mut() {
            value.put_text(text);
        }
    }

    pub(crate) fn pop(&mut self) -> Value {
        self.0.pop().map(|(_, value)| value).unwrap_or_default()
    }

    /// The values from `mark` on, as they came.
    pub(crate) fn values(&mut self, mark: usize) -> Vec<Value> {
        self.0.drain(mark..).map(|(_, value)| value).collect()
    }

    /// Lets the last field take the place of an earlier one of the object from `mark` on.
    pub(crate) fn settle(&mut self, mark: usize) {
        let Some(((place, last), before)) = self.0[mark..].split_last_mut() else {
            return;
        };
        if let Some((_, earlier)) = before.iter_mut().rfind(|(p, _)| p == place) {
            *earlier = std::mem::take(last);
            self.0.pop();
        }
    }

    /// The value at `place` of the object from `mark` on.
    pub(crate) fn get_mut(&mut self, mark: usize, place: u16) -> Option<&mut Value> {
        let mut slots = self.0[mark..].iter_mut();
        slots.rfind(|(p, _)| *p == place).map(|(_, value)| value)
    }

    /// Gives the fields from `mark` on in the order of their places, and forgets them; `false` when
    /// a place occurs twice.
    pub(crate) fn take(&mut self, mark: usize, mut each: impl FnMut(u16, Value)) -> bool {
        let slots = &mut self.0[mark..];
        let n = slots.len();
        let mut distinct = true;
        if slots.is_sorted_by(|a, b| a.0 < b.0) {
            self.0.drain(mark..).for_each(|(p, v)| each(p, v));
            return true;
        }
        if n > APART {
            slots.sort_unstable_by_key(|(place, _)| *place);
            distinct = slots.windows(2).all(|w| w[0].0 != w[1].0);
            self.0.drain(mark..).for_each(|(p, v)| each(p, v));
            return distinct;
        }
        // A slot is large, its place small.
        let mut order = [0_u32; APART];
        for (i, (place, _)) in slots.iter().enumerate() {
            order[i] = u32::from(*place) << 8 | i as u32;
        }
        let order = &mut order[..n];
        order.sort_unstable();
        let mut last = None;
        for key in order {
            let (place, value) = std::mem::take(&mut slots[(*key & 0xff) as usize]);
            distinct &= last != Some(place);
            last = Some(place);
            each(place, value);
        }
        self.0.truncate(mark);
        distinct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_in_the_order_of_their_places() {
        for n in [0, 1, 2, 7, APART, APART + 1, 200] {
            let mut slots = Slots::new();
            slots.push(9, Value::Null);
            let place = |i: usize| u16::try_from(i * 7919 % 1009).expect("small");
            let places: Vec<u16> = (0..n).map(place).collect();
            let mut want = places.clone();
            want.sort_unstable();
            for place in &places {
                slots.push(*place, i64::from(*place).into());
            }
            let mut got = Vec::new();
            assert!(slots.take(1, |place, value| {
                assert_eq!(value, Value::Int(place.into()));
                got.push(place);
            }));
            assert_eq!((got, slots.mark()), (want, 1));
        }
        for n in [2, APART + 1] {
            let mut slots = Slots::new();
            (0..n).for_each(|i| slots.push(u16::from(i > 0), Value::Null));
            assert_eq!(slots.take(0, |_, _| ()), n == 2);
            slots.push(1, Value::Null);
            slots.push(0, Value::Null);
            slots.push(1, Value::Null);
            assert!(!slots.take(0, |_, _| ()));
        }
    }
}
