//! Both listeners of the edge, judged from outside.

#[cfg(test)]
mod api;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod validation;
