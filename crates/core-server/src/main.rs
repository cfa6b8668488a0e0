//! The Core Service
fn main() {}
