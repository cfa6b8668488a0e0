//! `clm-local`: a whole installation on one machine.
fn main() {}
