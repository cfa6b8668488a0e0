//! Throwaway installations for tests
