//! The contract between Core and Secure
