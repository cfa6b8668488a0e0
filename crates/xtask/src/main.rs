//! cargo xtask check: dependency table, tidy rules, generated files
fn main() {}
