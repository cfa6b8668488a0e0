//! Both listeners of the edge, judged from outside.

mod api;
mod harness;
mod validation;
