//! The Secure Service
fn main() {}
