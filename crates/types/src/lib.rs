//! The words of CLM: typed ids, serials, states, error codes, clock; no I/O
