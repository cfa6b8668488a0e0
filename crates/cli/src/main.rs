//! clm, the command line of users: speaks only the REST API
fn main() {}
