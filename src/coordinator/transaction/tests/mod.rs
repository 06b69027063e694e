//! Scripts in, transcripts out: see `script.rs` for the words.

mod ends;
mod identity;
mod random;
mod records;
mod script;
