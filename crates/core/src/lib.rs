//! The rules of the Core Service
