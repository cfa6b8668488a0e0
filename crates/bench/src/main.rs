//! Load generator and ceilings
fn main() {}
