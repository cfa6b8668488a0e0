//! What each process does alike: configuration, secrets, logs, metrics, health, shutdown
