//! Random messages for tests, made from bytes that proptest chooses and shrinks.
//!
//! Why bytes: the field tables know which values a version can carry, so they drive the choice;
//! when the bytes run out every further choice is the smallest one, so shrinking the bytes shrinks
//! the message.

use bytes::Bytes;
use uuid::Uuid;

use crate::protocol::schema::Context;

/// Choices yet to be made.
pub struct Entropy<'a> {
    bytes: &'a [u8],
}

impl<'a> Entropy<'a> {
    pub fn new(bytes: &'a [u8]) -> Entropy<'a> {
        Entropy { bytes }
    }

    fn take<const SIZE: usize>(&mut self) -> [u8; SIZE] {
        let mut taken = [0; SIZE];
        let size = SIZE.min(self.bytes.len());
        let (head, rest) = self.bytes.split_at(size);
        taken[..size].copy_from_slice(head);
        self.bytes = rest;
        taken
    }

    pub fn bool(&mut self) -> bool {
        self.i8() & 1 == 1
    }

    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.take())
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    /// Never NaN, which is not equal to itself.
    pub fn f64(&mut self) -> f64 {
        f64::from(self.i32())
    }

    pub fn uuid(&mut self) -> Uuid {
        Uuid::from_bytes(self.take())
    }

    /// Elements of an array: few, and none when the bytes have run out.
    pub fn count(&mut self) -> usize {
        let [choice] = self.take();
        usize::from(choice % 4)
    }

    /// Up to 127 letters now and then, so that compact lengths of two bytes occur; mostly short.
    pub fn string(&mut self) -> String {
        let [choice, letter] = self.take();
        let length = if choice > 250 { 300 } else { usize::from(choice % 12) };
        let letters = ['a', 'Z', '9', '.', 'é', '漢'];
        (0..length).map(|at| letters[(usize::from(letter) + at) % letters.len()]).collect()
    }

    pub fn bytes(&mut self) -> Bytes {
        let [choice, fill] = self.take();
        let length = if choice > 250 { 2000 } else { usize::from(choice % 40) };
        Bytes::from(vec![fill; length])
    }

    /// Null in one of four cases, where null is allowed.
    pub fn nullable<T>(
        &mut self,
        context: Context,
        value: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        if context.is_nullable && self.i8() & 3 == 1 { None } else { Some(value(self)) }
    }
}
